package stack

import (
	"errors"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Front is a device through which writers reach a base, did, or are about to.
type Front struct {
	Info ioctl.Info
	// Live: its live table leads to the base. Pending: its inactive one does.
	Live, Pending bool
	// Foreign: what waits in its inactive slot is neither ours nor the origin's
	// own table: somebody else is changing the device.
	Foreign bool
}

// Fronts finds all of them for a base, those too that a window left with their
// own table and an empty slot, where only the name still tells.
func (r *Reader) Fronts(base Device) ([]Front, error) {
	candidates, err := r.holderDevices(base.Dev)
	if err != nil {
		return nil, err
	}
	named, err := r.namesake(base)
	if err != nil {
		return nil, err
	}
	for _, d := range named {
		if !slices.Contains(candidates, d) {
			candidates = append(candidates, d)
		}
	}
	var fronts []Front
	for _, d := range candidates {
		f, own, err := r.front(ioctl.ID{Dev: ioctl.DevNo(d)}, base)
		if errors.Is(err, ioctl.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f.Live || f.Pending || own {
			fronts = append(fronts, f)
		}
	}
	return fronts, nil
}

// namesake are the mapped devices whose base would have the name of this one.
func (r *Reader) namesake(base Device) (found []targets.DevNo, err error) {
	entries, err := r.Control.List(ioctl.ID{})
	for _, e := range entries {
		if plan.BaseName(plan.VolumeName(e.Name)) == base.Name {
			found = append(found, targets.DevNo(e.Dev))
		}
	}
	return found, err
}

// OriginsOf are the devices that a base may have been made for, or is about to
// serve, plain ones too. A base that has no table yet is known by its name only.
func (r *Reader) OriginsOf(base Device) ([]targets.DevNo, error) {
	found, err := r.namesake(base)
	if err != nil {
		return nil, err
	}
	if plain, ok := base.Interposed(); ok {
		found = append(found, plain)
	}
	names, err := r.Kernel.ReadDir("/sys/class/block")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if plan.BaseName(plan.VolumeName(name)) != base.Name {
			continue
		}
		text, err := r.attr("/sys/class/block/" + name + "/dev")
		if err != nil || text == "" {
			return found, err
		}
		d, err := targets.ParseDevNo(text)
		if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	holders, err := r.holderDevices(base.Dev)
	return append(found, holders...), err
}

// front looks at one device; own tells that its live table is the base's.
func (r *Reader) front(id ioctl.ID, base Device) (f Front, own bool, err error) {
	info, live, err := r.Table(id, 0)
	if err != nil {
		return f, false, err
	}
	f = Front{Info: info, Live: LeadsTo(live, base.Dev)}
	own = live.Equal(base.Table)
	if !info.Inactive {
		return f, own, nil
	}
	_, waiting, err := r.Table(id, ioctl.QueryInactive)
	f.Pending = LeadsTo(waiting, base.Dev)
	f.Foreign = !f.Pending && !waiting.Equal(base.Table)
	return f, own, err
}
