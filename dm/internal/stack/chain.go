package stack

import (
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// Through are the snapshots that a snapshot reads through, nearest first.
func (v *View) Through(snap Device) (through []Device) {
	for next := v.beneath(snap); next != nil && len(through) < len(v.devices); next = v.beneath(*next) {
		through = append(through, *next)
	}
	return through
}

// beneath is the snapshot that another one reads through, if it does.
func (v *View) beneath(snap Device) *Device {
	lower, ok := snap.Lower()
	if d := v.At(lower); ok && d != nil && d.Snapshot() {
		return d
	}
	return nil
}

// BaseOf is what a snapshot reads in the end: the device of a base.
func (v *View) BaseOf(snap Device) (targets.DevNo, bool) {
	if through := v.Through(snap); len(through) > 0 {
		snap = through[len(through)-1]
	}
	return snap.Lower()
}

// ReadBy are the snapshots that read through another one, with none between.
func (v *View) ReadBy(snap Device) (readers []Device) {
	for _, d := range v.above[snap.Dev] {
		readers = append(readers, *d)
	}
	return readers
}

// height is how many snapshots read through one, one above the other.
func (v *View) height(snap Device) (most int) {
	for _, d := range v.above[snap.Dev] {
		most = max(most, 1+v.height(*d))
	}
	return most
}

// older describes a snapshot that pairs with its base.
func (v *View) older(d Device) plan.Older {
	return plan.Older{
		Name: d.Name, Role: d.Role, Table: d.Table, ReadOnly: d.Info.ReadOnly,
		Valid: d.Status.State == targets.Active, Height: v.height(d),
	}
}

// PlanBase describes a base and the images that stand on it.
func (v *View) PlanBase(d Device) plan.Base {
	b := plan.Base{Name: d.Name, UUID: d.UUID, Dev: d.Dev, Table: d.Table, ReadOnly: d.Info.ReadOnly}
	if d.Under != nil {
		b.Lower = &plan.Lower{Name: d.Under.Name, Dev: d.Under.Dev}
	}
	for _, i := range v.above[d.Dev] {
		b.Images = append(b.Images, i.Name)
		if i.Info.Live {
			b.Older = append(b.Older, v.older(*i))
		}
	}
	return b
}

// StoreOf names the image that keeps its old chunks on a device; "" if none does.
func (v *View) StoreOf(dev targets.DevNo) string {
	for _, s := range v.devices {
		if s.Role != plan.RoleStore || !s.On(dev) {
			continue
		}
		if image := v.Member(s.ID, s.Volume, plan.RoleImage); image != nil {
			return image.Name
		}
		return s.Name
	}
	return ""
}

// CarriesStore tells whether a store lies on a base.
func (v *View) CarriesStore(base targets.DevNo) bool {
	return v.Any(func(d Device) bool {
		lower, ok := d.Lower()
		return ok && d.Role == plan.RoleStore && lower == base
	})
}
