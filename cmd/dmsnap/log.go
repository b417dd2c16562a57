package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/rs/zerolog"
)

// newLogger gives the library a logger that writes lines for people to a
// terminal and JSON lines to everything else.
func newLogger(w io.Writer, quiet bool, verbose int) *slog.Logger {
	// The only knob zerolog has for this is global.
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	if isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != ""}
	}
	l := zerolog.New(w).Level(level(quiet, verbose))
	return slog.New(utc{zerolog.NewSlogHandler(l)})
}

func level(quiet bool, verbose int) zerolog.Level {
	switch {
	case quiet:
		return zerolog.ErrorLevel
	case verbose == 0:
		return zerolog.WarnLevel
	case verbose == 1:
		return zerolog.InfoLevel
	default:
		return zerolog.DebugLevel
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// utc is a handler that stamps records in UTC.
type utc struct{ slog.Handler }

func (h utc) Handle(ctx context.Context, r slog.Record) error {
	r.Time = r.Time.UTC()
	return h.Handler.Handle(ctx, r)
}

func (h utc) WithAttrs(attrs []slog.Attr) slog.Handler { return utc{h.Handler.WithAttrs(attrs)} }

func (h utc) WithGroup(name string) slog.Handler { return utc{h.Handler.WithGroup(name)} }
