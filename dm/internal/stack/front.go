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
	// Own: its live table is the same as the base's. Both lead to the same sectors.
	Own bool
	// Foreign: what waits in its inactive slot is neither ours nor the origin's
	// own table, nor the live one: another program is changing the device.
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
		f, err := r.front(ioctl.ID{Dev: d}, base)
		if errors.Is(err, ioctl.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f.Live || f.Pending || f.Own {
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
			found = append(found, e.Dev)
		}
	}
	return found, err
}

// OriginsOf are the devices that a base may have been made for, or is about to
// serve, plain ones too; the device beneath a base that is gone is taken for it. One that
// has no table yet is known by its name only.
func (r *Reader) OriginsOf(base Device) ([]targets.DevNo, error) {
	base.Name = plan.BaseNameOf(base.Name)
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

// front looks at one device.
func (r *Reader) front(id ioctl.ID, base Device) (f Front, err error) {
	info, live, err := r.Table(id, 0)
	if err != nil {
		return f, err
	}
	f = Front{Info: info, Live: LeadsTo(live, base.Dev), Own: live.Equal(base.Table)}
	if !info.Inactive {
		return f, nil
	}
	_, waiting, err := r.Table(id, ioctl.QueryInactive)
	f.Pending = LeadsTo(waiting, base.Dev)
	f.Foreign = !f.Pending && !waiting.Equal(base.Table) && !waiting.Equal(live)
	return f, err
}

// Vouched tells whether the sectors of a base are its origin's at this moment: a
// front leads to it, or has the same table. Else another program gave the front a
// table of its own, as pvmove does, and what the base leads to may be anybody's. A
// device that is no base of ours needs no check.
func (r *Reader) Vouched(dev targets.DevNo) (bool, error) {
	info, table, err := r.Table(ioctl.ID{Dev: dev}, 0)
	if errors.Is(err, ioctl.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	base := Device{Name: info.Name, UUID: info.UUID, Dev: dev, Info: info, Table: table}
	if base.ID, _, base.Role, _ = plan.ParseUUID(info.UUID); base.Role != plan.RoleBase {
		return true, nil
	}
	if _, plain := base.Interposed(); plain {
		return true, nil // that device is where it always was
	}
	fronts, err := r.Fronts(base)
	if err != nil || slices.ContainsFunc(fronts, func(f Front) bool { return f.Live || f.Own }) {
		return err == nil, err
	}
	_, err = r.Control.Status(ioctl.ID{UUID: plan.LowerUUID(base.ID)}) // it has a layer, and leads to a plain device, too
	if errors.Is(err, ioctl.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
