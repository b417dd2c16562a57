package targets

import (
	"errors"
	"strconv"
	"strings"
)

// ErrNotWhole says that a target that ignores its own start stands in a table
// of several rows, or not at sector 0. See [Table.ValidateWhole].
var ErrNotWhole = errors.New("target must be the only row of its table and start at sector 0")

// ParseError says which part of a table or status line could not be read. It
// never contains more than the one offending word: tables hold keys.
type ParseError struct {
	Kind   string // what was read: a target type, "table", "era status", ...
	Line   int    // line of a table text, from 1; 0 elsewhere
	Field  string // which argument, empty for the whole
	Text   string // the offending word
	Reason string
}

// Error names kind, field, word and reason.
func (e *ParseError) Error() string {
	var b strings.Builder
	b.WriteString("parse " + e.Kind)
	if e.Line > 0 {
		b.WriteString(" line " + strconv.Itoa(e.Line))
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	if e.Text != "" {
		b.WriteString(" " + strconv.Quote(e.Text))
	}
	return b.String() + ": " + e.Reason
}

// InvalidError says why a target or table must not be loaded.
type InvalidError struct {
	Kind   string // target type or "table"
	Reason string
}

// Error names the target type and the reason.
func (e *InvalidError) Error() string { return "invalid " + e.Kind + ": " + e.Reason }
