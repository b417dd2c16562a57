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
	entries, err := r.Control.List(ioctl.ID{})
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		d := targets.DevNo(e.Dev)
		if plan.BaseName(plan.VolumeName(e.Name)) == base.Name && !slices.Contains(candidates, d) {
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
