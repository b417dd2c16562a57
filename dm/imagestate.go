package dm

import (
	"fmt"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

const neverCut = "no snapshot was taken yet: an operation is in progress or was interrupted"

// imageState is what an image is worth now.
func (v *view) imageState(d stack.Device, base targets.DevNo) (State, string) {
	switch {
	case !d.Info.Live:
		return StateBroken, neverCut
	case d.Status.State == targets.Invalid:
		return StateInvalid, "the kernel invalidated it: its store is full or failed"
	case d.Status.State == targets.Overflow:
		return StateOverflow, "its store is full"
	case d.Status.State != targets.Active:
		return StateBroken, "the kernel says " + d.Status.State.String()
	case v.fronts[base] == nil:
		return StateBypassed, "another program reloaded the origin's table or removed the origin: later writes are in the image too"
	case d.Info.Suspended:
		return StateBroken, "its image is suspended"
	}
	return v.redirectState(base)
}

// redirectState tells whether all writers of a plain device come by the front.
func (v *view) redirectState(base targets.DevNo) (State, string) {
	d := v.Base(base)
	if d == nil {
		return StateActive, ""
	}
	_, plain := d.Interposed()
	switch {
	case plain && d.Redirect.State == targets.InterposeDead:
		return StateBroken, "the device beneath has been removed from this machine"
	case plain && !d.Redirect.Serves():
		return StateBypassed, "writes to the origin no longer pass through dmsnap: later writes are in the image too"
	case plain && d.Redirect.Bypassed > 0:
		return StateBypassed, fmt.Sprintf("%d writes reached the device under another name, for example through the whole disk: they are in the image too", d.Redirect.Bypassed)
	}
	return StateActive, ""
}

var severity = []State{
	StateActive, StateMerging, StateMerged, StateOverflow, StateInvalid, StateBypassed, StateBroken,
}

func worseState(a, b State) State {
	if slices.Index(severity, b) > slices.Index(severity, a) {
		return b
	}
	return a
}
