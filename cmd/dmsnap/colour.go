package main

import (
	"io"
	"os"

	"github.com/dmsnap/dmsnap/dm"
)

// wantsColour tells whether w is a terminal that shows colours, and its user wants them.
func wantsColour(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// paint colours the text of a state that is not good. Each text gets as many bytes more.
func paint(state dm.State, text string) string {
	colour := "39" // the terminal's own
	switch state {
	case dm.StateOverflow, dm.StateInvalid, dm.StateBroken:
		colour = "31"
	case dm.StateBypassed:
		colour = "33"
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
