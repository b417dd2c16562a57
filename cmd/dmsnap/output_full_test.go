package main

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm"
)

// full is an output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }

// TestOutputThatCannotBeWritten: a command that has something to say fails if it
// cannot say it, whatever it did, and says why on the other output.
func TestOutputThatCannotBeWritten(t *testing.T) {
	lines := map[string]stub{"--version": {}, "--help": {}, "create --help": {}}
	for _, g := range goldens() {
		lines[g.args] = g.stub
	}
	for line, s := range lines {
		for _, args := range [][]string{strings.Fields(line), append(strings.Fields(line), "--json")} {
			if out := do(t, &s, args...); out.exit != 0 || out.stdout == "" {
				continue
			}
			var stderr strings.Builder
			exit := run(t.Context(), args, full{}, &stderr, func(dm.Options) manager { return &s })
			if exit == 0 || !strings.Contains(stderr.String(), "no space left") {
				t.Errorf("%v: exit %d, %q", args, exit, stderr.String())
			}
		}
	}
}
