package stack

import (
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// Through are the snapshots that a snapshot reads through, nearest first. ours is
// what Ours returned.
func Through(snap Device, ours []Device) (through []Device) {
	for next := beneath(snap, ours); next != nil && len(through) < len(ours); next = beneath(*next, ours) {
		through = append(through, *next)
	}
	return through
}

// beneath is the snapshot that another one reads through, if it does.
func beneath(snap Device, ours []Device) *Device {
	lower, ok := snap.Lower()
	for i := range ours {
		if ok && ours[i].Snapshot() && ours[i].Dev == lower {
			return &ours[i]
		}
	}
	return nil
}

// BaseOf is what a snapshot reads in the end: the device of a base.
func BaseOf(snap Device, ours []Device) (targets.DevNo, bool) {
	if through := Through(snap, ours); len(through) > 0 {
		snap = through[len(through)-1]
	}
	return snap.Lower()
}

// ReadBy are the snapshots that read through another one, with none between.
func ReadBy(snap Device, ours []Device) (readers []Device) {
	for _, d := range ours {
		if lower, ok := d.Lower(); ok && d.Snapshot() && lower == snap.Dev {
			readers = append(readers, d)
		}
	}
	return readers
}

// height is how many snapshots read through one, one above the other.
func height(snap Device, ours []Device) (most int) {
	for _, d := range ReadBy(snap, ours) {
		most = max(most, 1+height(d, ours))
	}
	return most
}

// older describes a snapshot that pairs with its base.
func older(d Device, ours []Device) plan.Older {
	return plan.Older{
		Name: d.Name, Role: d.Role, Table: d.Table, ReadOnly: d.Info.ReadOnly,
		Valid: d.Status.State == targets.Active, Height: height(d, ours),
	}
}
