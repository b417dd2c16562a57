package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dmsnap/dmsnap/dm"
)

const schemaVersion = 1

// emit prints a result: one JSON object with one plural key, or text whose
// columns, separated by tabs, are aligned. It is written at once, or not at all.
func emit[T any](e *Env, key string, items []T, text func(io.Writer)) error {
	return emitPlain(e, key, items, func(w io.Writer) {
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		text(tw)
		tw.Flush() // into a buffer: cannot fail
	})
}

// emitPlain is emit for text that is printed as it is.
func emitPlain[T any](e *Env, key string, items []T, text func(io.Writer)) error {
	var buf bytes.Buffer
	if e.JSON {
		if err := encode(&buf, key, append([]T{}, items...)); err != nil {
			return err
		}
	} else {
		text(&buf)
	}
	if _, err := buf.WriteTo(e.Stdout); err != nil {
		return outputError(err)
	}
	return nil
}

// encode writes {"schema_version":1,KEY:VALUE} and a line end.
func encode(buf *bytes.Buffer, key string, value any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	fmt.Fprintf(buf, "{\"schema_version\":%d,%q:%s}\n", schemaVersion, key, bytes.TrimSpace(text.Bytes()))
	return nil
}

// afterResult is an error that comes with a printed result: with --json, too,
// it goes to stderr, since stdout has its one object already.
type afterResult struct{ error }

func (e afterResult) Unwrap() error { return e.error }

func outputError(err error) error {
	return &dm.Error{Op: "output", Code: dm.CodeFailed, Err: err}
}

// changed marks a failure to print the result of something that was done.
func changed(op, set string, err error) error {
	if err == nil {
		return nil
	}
	return &dm.Error{
		Op: op, Set: set, Code: dm.CodePartial, Err: fmt.Errorf("done, but the result could not be printed: %w", err),
		Hint: "see dmsnap list",
	}
}

// finish prints an error, if there is one, and gives the exit status.
func (e *Env) finish(err error) int {
	if err == nil {
		return exitOf(nil)
	}
	if r, ok := errors.AsType[relayed](err); ok {
		return r.exit
	}
	_, printed := errors.AsType[afterResult](err)
	if !e.JSON || printed || e.writeErrorObject(err) != nil {
		e.writeErrorText(err)
	}
	return exitOf(err)
}

func (e *Env) writeErrorText(err error) {
	fmt.Fprintf(e.Stderr, "dmsnap: %s\n", clean(message(err)))
	if f := dm.FailureOf(err); f.Hint != "" {
		fmt.Fprintf(e.Stderr, "hint: %s\n", clean(f.Hint))
	}
}

func (e *Env) writeErrorObject(err error) error {
	var buf bytes.Buffer
	if err := encode(&buf, "error", dm.FailureOf(err)); err != nil {
		return err
	}
	_, err = buf.WriteTo(e.Stdout)
	return err
}
