package dm

import (
	"maps"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// remains reads what there is of a set in the kernel.
func (s *session) remains(ours *stack.View, name, id string) (r plan.RemoveRequest, err error) {
	r = plan.RemoveRequest{Set: name, ID: id}
	if r.Names, err = s.recordedNames(name, id, ours); err != nil {
		return r, err
	}
	volumes := map[int]*plan.RemoveVolume{}
	for d := range ours.Devices() {
		if d.ID == id && d.Role == plan.RoleAdopted {
			r.Adopted = d.Name
		}
		if d.ID != id || !d.Role.Member() {
			continue
		}
		v := volumes[d.Volume]
		if v == nil {
			v = &plan.RemoveVolume{Number: d.Volume}
			volumes[d.Volume] = v
		}
		switch d.Role {
		case plan.RoleImage, plan.RoleCore:
			if d.Role == plan.RoleCore {
				v.Core = d.Name
			} else {
				v.Image = d.Name
			}
			if lower, ok := d.Lower(); !ok || d.Role == plan.RoleImage && isCore(lower, ours) {
				continue
			}
			v.Dead = d.Status.State == targets.Invalid
			if err := s.remainsBelow(v, d, id, ours); err != nil {
				return r, err
			}
			layers(v, d, ours)
		case plan.RoleStore:
			v.Store = d.Name
			if d.Info.Live && !givenUp(d.Table) {
				v.StoreSize, v.Spill = d.Table.Size(), pieces(d)
			}
		}
	}
	files, err := s.storeFiles(name, id, ours)
	if err != nil {
		return r, err
	}
	for n, f := range files {
		if volumes[n] == nil {
			volumes[n] = &plan.RemoveVolume{Number: n}
		}
		volumes[n].File = f
	}
	media, err := s.storeMedia(name, id, ours)
	if err != nil {
		return r, err
	}
	for n, m := range media {
		if volumes[n] == nil {
			volumes[n] = &plan.RemoveVolume{Number: n}
		}
		volumes[n].Media = m
	}
	for _, n := range slices.Sorted(maps.Keys(volumes)) {
		r.Volumes = append(r.Volumes, *volumes[n])
	}
	return r, s.orphanBases(&r, name, ours)
}

// isCore tells a core from a base.
func isCore(dev targets.DevNo, ours *stack.View) bool {
	d := ours.At(dev)
	return d != nil && d.Role == plan.RoleCore
}

// pieces are the places at which a store goes on with another device, whose head
// a chunk of the origin may make look like something it is not.
func pieces(d stack.Device) (starts []targets.Sectors) {
	seen := map[targets.Device]bool{}
	for i, row := range d.Table {
		linear, ok := row.Target.(targets.Linear)
		if ok && i > 0 && !seen[linear.Dev] {
			starts = append(starts, row.Start)
		}
		seen[linear.Dev] = true
	}
	return starts
}

// recordedNames are the devices of a set by its record, if there is one, and its
// intent: what has no device may have a node all the same. A base that exists may
// serve other sets, and so may its front.
func (s *session) recordedNames(name, id string, ours *stack.View) (out []string, err error) {
	intents, err := s.state.Intents()
	if err != nil {
		return nil, err
	}
	var bases []string
	for _, i := range intents {
		if i.ID == id {
			bases = append(bases, i.Bases...)
		}
	}
	if set, err := s.state.LoadSet(name); err == nil && set.ID == id {
		for _, v := range set.Volumes {
			out = append(out, plan.ImageName(name, v.Name), plan.CoreName(name, v.Name), plan.StoreName(name, v.Name))
			bases = append(bases, plan.BaseName(v.Name))
		}
	}
	for _, base := range bases {
		if base == "" { // one that stays
			continue
		}
		for _, layer := range []string{base, plan.FrontName(strings.TrimPrefix(base, plan.BaseName("")))} {
			if ours.Named(layer) == nil {
				out = append(out, layer)
			}
		}
	}
	return out, nil
}

// remainsBelow finds the base of an image and the front that leads to it.
func (s *session) remainsBelow(v *plan.RemoveVolume, image stack.Device, id string, ours *stack.View) error {
	base, _ := ours.BaseOf(image)
	if d := ours.Base(base); d != nil {
		return s.remainsFront(v, *d, id, ours)
	}
	return nil
}

func (s *session) remainsFront(v *plan.RemoveVolume, base stack.Device, id string, ours *stack.View) error {
	if dev, plain := base.Interposed(); plain {
		return s.remainsPlain(v, base, dev, id, ours)
	}
	b := ours.PlanBase(base)
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
		v.Origin, err = s.read.Origin(front.Name, front.Dev, ours)
		if err != nil {
			return err
		}
		// The table the plan is made for, not the one that was seen before it.
		b.Fronted = stack.LeadsTo(v.Origin.Table, base.Dev)
	}
	v.Origin.Base = &b
	v.Last = last(b, id, ours)
	return nil
}

// remainsPlain is remainsFront for a plain device, which may be gone: its base
// says which one it was.
func (s *session) remainsPlain(v *plan.RemoveVolume, base stack.Device, dev targets.DevNo, id string, ours *stack.View) error {
	v.Origin = plan.Origin{Dev: dev, Path: s.read.Node(dev), Volume: strings.TrimPrefix(base.Name, plan.BaseName(""))}
	if err := s.read.Layer(&v.Origin, base, ours); err != nil {
		return err
	}
	held, err := s.state.HeldBase(base.Name, base.ID)
	v.Last = !held && last(*v.Origin.Base, id, ours)
	return err
}

// last tells whether no image of another set uses a base.
func last(b plan.Base, id string, ours *stack.View) bool {
	return !ours.Any(func(d stack.Device) bool {
		return d.ID != id && slices.Contains(b.Images, d.Name)
	})
}

// orphanBases adds bases that no image stands on and that belong to this set by
// its record or intent: what is left when an operation ended before its image
// was loaded, or after it was removed.
func (s *session) orphanBases(r *plan.RemoveRequest, name string, ours *stack.View) error {
	for d := range ours.Devices() {
		if d.Role != plan.RoleBase || len(ours.PlanBase(d).Images) > 0 {
			continue
		}
		mine, err := s.baseOf(d, r.ID, name)
		if err != nil {
			return err
		}
		if !mine {
			continue
		}
		v := plan.RemoveVolume{}
		if err := s.remainsFront(&v, d, r.ID, ours); err != nil {
			return err
		}
		r.Volumes = append(r.Volumes, v)
	}
	return nil
}

// baseOf tells whether an image-less base was made for a set.
func (s *session) baseOf(base stack.Device, id, name string) (bool, error) {
	intents, err := s.state.Intents()
	if err != nil {
		return false, err
	}
	for _, i := range intents {
		if i.ID == id && slices.Contains(i.Bases, base.Name) {
			return true, nil
		}
	}
	set, err := s.state.LoadSet(name)
	if err != nil || set.ID != id {
		return false, nil
	}
	return slices.ContainsFunc(set.Volumes, func(v journal.Volume) bool { return plan.BaseName(v.Name) == base.Name }), nil
}
