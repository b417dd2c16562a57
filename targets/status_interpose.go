package targets

import (
	"slices"
	"strconv"
)

// InterposeState is what the module says of a redirect that is not simply there
// or not there.
type InterposeState string

// States of a redirect.
const (
	InterposeSteady    InterposeState = ""          // attached if it has a front
	InterposeAttaching InterposeState = "attaching" // being proved
	InterposeDetaching InterposeState = "detaching" // the front is waited for
	InterposeDead      InterposeState = "dead"      // its driver removed the device
	InterposeLost      InterposeState = "lost"      // a proof failed: writes may have passed the front
)

// InterposeStatus is the status line of an interpose target.
type InterposeStatus struct {
	// Front is the device that gets what is addressed to the plain device; zero
	// while nothing is redirected.
	Front DevNo
	// Bypassed counts writes that reached the same sectors by another name, the
	// whole disk for example, since the redirect began.
	Bypassed uint64
	State    InterposeState
}

// Attached tells whether there is a redirect, in whatever state.
func (s InterposeStatus) Attached() bool { return s.Front != DevNo{} }

// Serves tells whether all writes to the device can be relied on to pass the
// front, but for those that Bypassed counts.
func (s InterposeStatus) Serves() bool { return s.Attached() && s.State == InterposeSteady }

// String is the status line as the kernel prints it.
func (s InterposeStatus) String() string {
	text := "-"
	if s.Attached() {
		text = s.Front.String()
	}
	text += " " + strconv.FormatUint(s.Bypassed, 10)
	if s.State != InterposeSteady {
		text += " " + string(s.State)
	}
	return text
}

// ParseInterposeStatus reads "<front or -> <bypassed> [<state>]". The error is a
// [*ParseError].
func ParseInterposeStatus(text string) (InterposeStatus, error) {
	r := newReader("interpose status", text)
	var s InterposeStatus
	if front := r.word("front"); r.err == nil && front != "-" {
		var err error
		if s.Front, err = ParseDevNo(front); err != nil {
			r.fail("front", front, err.Error())
		}
	}
	s.Bypassed = r.number("bypassed", 64)
	if r.more() {
		s.State = InterposeState(r.word("state"))
		if !slices.Contains([]InterposeState{InterposeAttaching, InterposeDetaching, InterposeDead, InterposeLost}, s.State) {
			r.fail("state", string(s.State), "unknown")
		}
	}
	return s, r.end()
}
