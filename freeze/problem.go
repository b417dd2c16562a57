package freeze

import (
	"fmt"
	"strconv"
)

// ProblemKind is why a table of mounts may be incomplete.
type ProblemKind uint8

const (
	// OddLine: a line of mountinfo was not understood.
	OddLine ProblemKind = iota + 1
	// Unreadable: a process does not let us see its mounts.
	Unreadable
	// Unseen: a mount namespace lives without any process in it.
	Unseen
	// Unresolved: a filesystem that spans devices (btrfs, bcachefs) does not
	// tell which ones.
	Unresolved
)

// Problem is one thing that the table of mounts could not find out. Callers
// that claim consistency for a device decide what it means for them.
type Problem struct {
	Kind      ProblemKind
	Namespace string
	PID       int // 0 for our own process
	Text      string
	Err       error
}

// String is one line for people.
func (p Problem) String() string {
	switch p.Kind {
	case OddLine:
		return "cannot parse line of mountinfo: " + strconv.Quote(p.Text)
	case Unreadable:
		return fmt.Sprintf("cannot read the mounts of process %d: %v", p.PID, p.Err)
	case Unseen:
		return "mount namespace " + p.Namespace + " has no process, so its mounts are unknown"
	}
	return "the devices of the filesystem at " + p.Text + " not known"
}
