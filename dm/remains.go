package dm

import (
	"maps"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// inventory reads what our own files say of a set, once, to a look at our devices. An
// error is one of the journal; what the record says is there all the same.
func (s *session) inventory(ours *stack.View, name, id string) (inventory.Set, error) {
	known := inventory.Set{Name: name, ID: id, View: ours}
	var err error
	known.Intents, err = s.state.Intents()
	if set, err := s.state.LoadSet(name); err == nil && set.ID == id {
		known.Record = &set
	}
	return known, err
}

// remains reads what there is of a set in the kernel.
func (s *session) remains(ours *stack.View, name, id string) (plan.RemoveRequest, error) {
	r := plan.RemoveRequest{Set: name, ID: id}
	known, err := s.inventory(ours, name, id)
	if err != nil {
		return r, err
	}
	r.Names, r.Adopted = known.Nodes(), known.Adopted()
	volumes := known.Volumes()
	for _, n := range slices.Sorted(maps.Keys(volumes)) {
		v := volumes[n]
		if v.Base == nil {
			continue
		}
		if err := s.remainsFront(&v.RemoveVolume, *v.Base, known); err != nil {
			return r, err
		}
	}
	if err := s.remainsStores(volumes, known); err != nil {
		return r, err
	}
	for _, n := range slices.Sorted(maps.Keys(volumes)) {
		r.Volumes = append(r.Volumes, volumes[n].RemoveVolume)
	}
	for _, base := range known.OrphanBases() {
		v := plan.RemoveVolume{}
		if err := s.remainsFront(&v, base, known); err != nil {
			return r, err
		}
		r.Volumes = append(r.Volumes, v)
	}
	return r, nil
}

// remainsStores adds the files and devices of stores, of volumes too that have nothing
// else any more.
func (s *session) remainsStores(volumes map[int]*inventory.Volume, known inventory.Set) error {
	of := func(n int) *inventory.Volume {
		if volumes[n] == nil {
			volumes[n] = &inventory.Volume{RemoveVolume: plan.RemoveVolume{Number: n}}
		}
		return volumes[n]
	}
	files, err := s.filesOf(known)
	if err != nil {
		return err
	}
	for n, f := range files {
		of(n).Files = f
	}
	media, err := s.mediaOf(known)
	if err != nil {
		return err
	}
	for n, m := range media {
		of(n).Media = m
	}
	return nil
}

// remainsFront finds the front that leads to a base.
func (s *session) remainsFront(v *plan.RemoveVolume, base stack.Device, known inventory.Set) error {
	if dev, plain := base.Interposed(); plain {
		return s.remainsPlain(v, base, dev, known)
	}
	b := known.View.PlanBase(base)
	live, pending, err := s.read.Front(base.Dev)
	if err != nil {
		return err
	}
	b.Fronted, b.Pending = live != nil, pending != nil
	front := live
	if front == nil {
		front = pending
	}
	if front != nil {
		v.Origin, err = s.read.Origin(front.Name, front.Dev, known.View)
		if err != nil {
			return err
		}
		// The table the plan is made for, not the one that was seen before it.
		b.Fronted = stack.LeadsTo(v.Origin.Table, base.Dev)
	}
	v.Origin.Base = &b
	v.Last = known.Last(b)
	return nil
}

// remainsPlain is remainsFront for a plain device, which may be gone: its base
// says which one it was.
func (s *session) remainsPlain(v *plan.RemoveVolume, base stack.Device, dev targets.DevNo, known inventory.Set) error {
	v.Origin = plan.Origin{Dev: dev, Path: s.read.Node(dev), Volume: strings.TrimPrefix(base.Name, plan.BaseName(""))}
	if err := s.read.Layer(&v.Origin, base, known.View); err != nil {
		return err
	}
	held, err := s.state.HeldBase(base.Name, base.ID)
	v.Last = !held && known.Last(*v.Origin.Base)
	return err
}
