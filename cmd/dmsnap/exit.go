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
}

// statuses is the one table of exit statuses, by number. Numbers are never
// reused. docs/exit-codes.md and the help texts repeat it; tests compare them.
func statuses() []status {
	return []status{
		{0, "", "done"},
		{1, dm.CodeFailed, "failed, nothing changed"},
		{2, dm.CodeUsage, "usage: the command line or the request makes no sense"},
		{3, dm.CodeLocked, "locked by another dmsnap"},
		{4, dm.CodeNotFound, "no such set, origin or device"},
		{5, dm.CodeBusy, "busy: somebody holds a device"},
		{6, dm.CodeNoSpace, "no space, or a store overflowed"},
		{7, dm.CodeUnsupported, "not possible on this host"},
		{8, dm.CodeFreeze, "freeze or hook failed, nothing taken"},
		{9, dm.CodeDegraded, "taken at a lower consistency than asked"},
		{10, dm.CodePartial, "done in part"},
		{11, dm.CodeUnrecovered, "recovery needed: run dmsnap recover"},
	}
}

// exitOf gives the exit status of an error.
func exitOf(err error) int {
	if err == nil {
		return 0
	}
	code := dm.CodeOf(err)
	for _, s := range statuses() {
		if s.code == code {
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
