package main

import (
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

// status is one row of the exit status table.
type status struct {
	exit    int
	code    dm.Code // "" for success
	meaning string
	also    dm.Code // a second code with this status; "" for most
}

// statuses is the one table of exit statuses, by number. Numbers are never
// reused. docs/exit-codes.md and the help texts repeat it; tests compare them.
func statuses() []status {
	return []status{
		{exit: 0, code: "", meaning: "done"},
		{exit: 1, code: dm.CodeFailed, meaning: "failed, nothing changed"},
		{exit: 2, code: dm.CodeUsage, meaning: "invalid arguments or request", also: dm.CodeExists},
		{exit: 3, code: dm.CodeLocked, meaning: "locked by another dmsnap"},
		{exit: 4, code: dm.CodeNotFound, meaning: "no such set, origin or device"},
		{exit: 5, code: dm.CodeBusy, meaning: "busy: a device is in use"},
		{exit: 6, code: dm.CodeNoSpace, meaning: "no space, or the image is lost"},
		{exit: 7, code: dm.CodeUnsupported, meaning: "not possible on this host"},
		{exit: 8, code: dm.CodeFreeze, meaning: "freeze or hook failed; no snapshot was taken"},
		{exit: 9, code: dm.CodeDegraded, meaning: "snapshot taken, but less consistent than requested"},
		{exit: 10, code: dm.CodePartial, meaning: "partly done"},
		{exit: 11, code: dm.CodeUnrecovered, meaning: "recovery needed: run dmsnap recover"},
		{exit: 12, code: dm.CodeFullRequired, meaning: "what changed is not recorded: copy the whole image"},
		// Of exec and shell, which have their command's otherwise.
		{exit: 124, meaning: "the image was lost while the command ran"},
		{exit: 125, meaning: "dmsnap failed: the command was not run, or its result or cleanup failed"},
		{exit: 126, meaning: "the command cannot be executed"},
		{exit: 127, meaning: "the command was not found"},
	}
}

// exitOf gives the exit status of an error.
func exitOf(err error) int {
	if err == nil {
		return 0
	}
	code := dm.CodeOf(err)
	for _, s := range statuses() {
		if s.code == code || s.also != "" && s.also == code {
			return s.exit
		}
	}
	return 1
}

// writeStatuses lists the statuses with the given numbers, all if there are
// none.
func writeStatuses(w io.Writer, only []int) {
	wanted := make(map[int]bool)
	for _, n := range only {
		wanted[n] = true
	}
	for _, s := range statuses() {
		if len(only) == 0 || wanted[s.exit] {
			fmt.Fprintf(w, "  %2d  %s\n", s.exit, s.meaning)
		}
	}
}
