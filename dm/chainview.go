package dm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// link says of each volume which set its image reads through, which ones read
// through it, and for which the kernel copies too. An image is worth no more than
// what it reads through.
func (v *view) link(sets []Set) {
	names := map[string]string{}
	for _, s := range sets {
		names[s.UUID] = s.Name
	}
	readBy := v.readBy(names)
	for i := range sets {
		for n := range sets[i].Volumes {
			vol := &sets[i].Volumes[n]
			if snap := v.Snapshot(sets[i].UUID, vol.number); snap != nil && snap.Info.Live {
				vol.ReadBy = append(vol.ReadBy, readBy[snap.Dev]...)
				v.linkOne(vol, *snap, names)
				sets[i].State = worseState(sets[i].State, vol.State)
			}
		}
	}
}

// readBy are the names of the sets that read through each snapshot. A host may have
// thousands of devices: each is followed down once.
func (v *view) readBy(names map[string]string) map[targets.DevNo][]string {
	by := map[targets.DevNo][]string{}
	for d := range v.Devices() {
		if !d.Snapshot() {
			continue
		}
		for _, t := range v.Through(d) {
			by[t.Dev] = append(by[t.Dev], names[d.ID])
		}
	}
	for _, sets := range by {
		slices.Sort(sets)
	}
	return by
}

func (v *view) linkOne(vol *Volume, snap stack.Device, names map[string]string) {
	through := v.Through(snap)
	if len(through) == 0 {
		vol.Beside = v.beside(snap, names)
		return
	}
	vol.ReadsThrough, vol.Depth = names[through[0].ID], len(through)
	vol.Store.stopGrowth()
	base, _ := v.BaseOf(snap)
	for _, d := range through {
		if state, why := v.imageState(d, base); worseState(vol.State, state) != vol.State {
			vol.State, vol.Reason = state, fmt.Sprintf("it reads through set %s: %s", names[d.ID], why)
		}
	}
}

// beside are the other snapshots that pair with the same base.
func (v *view) beside(snap stack.Device, names map[string]string) []Beside {
	out := []Beside{}
	base, ok := snap.Lower()
	on := v.Base(base)
	if !ok || on == nil {
		return out
	}
	for _, o := range v.PlanBase(*on).Older {
		if o.Name != snap.Name {
			out = append(out, Beside{Set: names[v.Named(o.Name).ID], Why: o.Apart()})
		}
	}
	slices.SortFunc(out, func(a, b Beside) int { return strings.Compare(a.Set, b.Set) })
	return out
}

// stopGrowth is for a chained snapshot, which gets no new exceptions: fill rate 0,
// needed = used.
func (s *Store) stopGrowth() {
	none := Rate(0)
	if s.FillRate != nil {
		s.FillRate, s.FullIn = &none, nil
	}
	if s.UsedBytes != nil {
		s.NeededBytes = *s.UsedBytes
	}
}
