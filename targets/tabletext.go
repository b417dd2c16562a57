package targets

import (
	"errors"
	"strings"
)

// String is the row as dmsetup prints it: "<start> <length> <type> <params>".
func (r Row) String() string {
	text := r.Start.String() + " " + r.Length.String()
	if r.Target == nil {
		return text
	}
	text += " " + r.Target.Type()
	if p := r.Target.Params(); p != "" {
		text += " " + p
	}
	return text
}

// FormatTable is the text that dmsetup create reads: one line per row, each
// ended by a newline. It validates first, so that ParseTable reads it back.
func FormatTable(t Table) (string, error) {
	if err := t.Validate(); err != nil {
		return "", err
	}
	return t.String() + "\n", nil
}

// ParseTable reads the text of one device: lines as dmsetup table prints them
// (without "name: " before them); empty lines and lines that start with # are
// skipped, as dmsetup create does. Rows are not checked against each other:
// see [Table.Validate]. The error is a [*ParseError] with the line number.
func ParseTable(text string) (Table, error) {
	var t Table
	n := 0
	for line := range strings.Lines(text) {
		n++
		body := trimLeft(strings.TrimSuffix(line, "\n"))
		if body == "" || body[0] == '#' {
			continue
		}
		row, err := parseRow(body)
		if err != nil {
			return nil, atLine(err, n)
		}
		t = append(t, row)
	}
	return t, nil
}

func parseRow(line string) (Row, error) {
	start, rest := cutWord(line)
	length, rest := cutWord(rest)
	typ, params := cutWord(rest)
	var row Row
	var err error
	if row.Start, err = parseSectors(start); err != nil {
		return Row{}, &ParseError{Kind: "table", Field: "start", Text: start, Reason: err.Error()}
	}
	if row.Length, err = parseSectors(length); err != nil {
		return Row{}, &ParseError{Kind: "table", Field: "length", Text: length, Reason: err.Error()}
	}
	if typ == "" {
		return Row{}, &ParseError{Kind: "table", Field: "target type", Reason: "missing"}
	}
	row.Target, err = Parse(typ, params)
	return row, err
}

// cutWord takes the first word; the rest starts after its white space.
func cutWord(text string) (word, rest string) {
	end := 0
	for end < len(text) && !isSpace(text[end]) {
		end++
	}
	return text[:end], trimLeft(text[end:])
}

func trimLeft(text string) string {
	for text != "" && isSpace(text[0]) {
		text = text[1:]
	}
	return text
}

func atLine(err error, n int) error {
	var parse *ParseError
	if errors.As(err, &parse) {
		parse.Line = n
	}
	return err
}
