package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLogLevels(t *testing.T) {
	for _, tt := range []struct {
		quiet   bool
		verbose int
		want    string
	}{{true, 0, "error"}, {false, 0, "warn error"}, {false, 1, "info warn error"}, {false, 2, "debug info warn error"}, {false, 3, "debug info warn error"}} {
		var buf bytes.Buffer
		l := newLogger(&buf, tt.quiet, tt.verbose)
		l.Debug("debug")
		l.Info("info")
		l.Warn("warn")
		l.Error("error")
		for _, msg := range strings.Fields("debug info warn error") {
			if got := strings.Contains(buf.String(), `"message":"`+msg+`"`); got != strings.Contains(tt.want, msg) {
				t.Errorf("%+v: %s", tt, buf.String())
			}
		}
	}
}

func TestLogLine(t *testing.T) {
	var buf bytes.Buffer
	r := slog.NewRecord(at("2026-01-01T01:00:00.0015+01:00"), slog.LevelWarn, "late", 0)
	r.Add("device", "254:0")
	if err := newLogger(&buf, false, 0).With("set", "nightly").Handler().Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := `{"level":"warn","set":"nightly","device":"254:0","time":"2026-01-01T00:00:00.001Z","message":"late"}` + "\n"
	if buf.String() != want {
		t.Errorf("got  %swant %s", buf.String(), want)
	}
}

func TestIsTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if isTerminal(f) || isTerminal(&bytes.Buffer{}) {
		t.Error("neither a file nor a buffer is a terminal")
	}
}

func TestSignalsEndContext(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		ctx, stop := signalContext()
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("%v ends nothing", s)
		}
		stop()
	}
}
