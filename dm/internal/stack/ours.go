package stack

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Reader reads through one border and one control descriptor. It changes
// nothing and takes no lock.
type Reader struct {
	Kernel  *ioctl.Kernel
	Control *ioctl.Control
	// LoadNothing keeps questions from loading modules into the kernel.
	LoadNothing bool
}

// Device is one device of ours.
type Device struct {
	Name, UUID string
	Dev        targets.DevNo
	// ID, Volume and Role are what the uuid says; Volume is -1 for a base
	// and a front.
	ID     string
	Volume int
	Role   plan.Role
	Info   ioctl.Info
	// Table is the live table, or the inactive one if none is live; nil if the
	// device has neither.
	Table  targets.Table
	Status targets.SnapshotStatus // snapshots with a live table only
	// Redirect is how the plain device beneath reaches its front; bases of plain
	// devices with a live table only.
	Redirect targets.InterposeStatus
	// Under is the device beneath a base that has the table of a layer, or is to get it.
	Under *Device
}

// Snapshot tells a core, or an image that has none.
func (d Device) Snapshot() bool {
	_, is := targets.Only[targets.Snapshot](d.Table)
	return is && (d.Role == plan.RoleImage || d.Role == plan.RoleCore)
}

// GivenUp tells the table of a store whose image was given up.
func GivenUp(t targets.Table) bool {
	_, is := targets.Only[targets.Error](t)
	return is
}

// Lower is the device in the first place of the table: a base for an image.
func (d Device) Lower() (targets.DevNo, bool) {
	devices := d.Table.Devices()
	if len(devices) == 0 {
		return targets.DevNo{}, false
	}
	return devices[0].DevNo, true
}

// On tells whether any part of the table lies on a device.
func (d Device) On(dev targets.DevNo) bool {
	return slices.Contains(d.Table.Devices(), targets.Device{DevNo: dev})
}

func (r *Reader) device(e ioctl.Entry) (*Device, error) {
	id, volume, role, ok := plan.ParseUUID(e.UUID)
	if !ok {
		return nil, nil
	}
	d := &Device{Name: e.Name, UUID: e.UUID, Dev: e.Dev, ID: id, Volume: volume, Role: role}
	var err error
	key := ioctl.ID{UUID: e.UUID}
	if d.Info, d.Table, err = r.Table(key, 0); err != nil {
		return nil, err
	}
	if !d.Info.Live && d.Info.Inactive {
		if _, d.Table, err = r.Table(key, ioctl.QueryInactive); err != nil {
			return nil, err
		}
		return d, nil
	}
	if d.Snapshot() && d.Info.Live {
		d.Status, err = r.status(key)
	}
	if _, plain := d.Interposed(); plain && d.Info.Live {
		d.Redirect, err = r.redirect(key)
	}
	return d, err
}

func (r *Reader) redirect(id ioctl.ID) (targets.InterposeStatus, error) {
	_, specs, err := r.Control.TargetStatus(id, 0)
	if err != nil || len(specs) != 1 {
		return targets.InterposeStatus{}, err
	}
	return targets.ParseInterposeStatus(specs[0].Params)
}

// Table reads a device's table with its secrets.
func (r *Reader) Table(id ioctl.ID, flags ioctl.Flags) (ioctl.Info, targets.Table, error) {
	return Table(r.Control, id, flags)
}

// Table is Reader.Table for those who have a control descriptor only.
func Table(ctl *ioctl.Control, id ioctl.ID, flags ioctl.Flags) (ioctl.Info, targets.Table, error) {
	info, specs, err := ctl.Table(id, flags|ioctl.SecureData)
	if err != nil {
		return info, nil, err
	}
	t, err := ParseTable(specs)
	if err != nil {
		return info, nil, fmt.Errorf("table of %s: %w", info.Name, err)
	}
	return info, t, nil
}

// ParseTable reads a table as the kernel gives it.
func ParseTable(specs []ioctl.Spec) (targets.Table, error) {
	t := make(targets.Table, len(specs))
	for i, s := range specs {
		target, err := targets.Parse(s.Type, s.Params)
		if err != nil {
			return nil, err
		}
		t[i] = targets.Row{Start: targets.Sectors(s.Start), Length: targets.Sectors(s.Length), Target: target}
	}
	return t, nil
}

// status reads a snapshot's status line. A snapshot may be asked while it is
// suspended; an era target must never be (it would hang), and never is here.
func (r *Reader) status(id ioctl.ID) (targets.SnapshotStatus, error) {
	line, err := r.statusLine(id)
	if err != nil || line == "" {
		return targets.SnapshotStatus{}, err
	}
	return targets.ParseSnapshotStatus(line)
}

// statusLine is what the only target of a device says of itself; empty if there
// are more.
func (r *Reader) statusLine(id ioctl.ID) (string, error) {
	_, specs, err := r.Control.TargetStatus(id, 0)
	if err != nil || len(specs) != 1 {
		return "", err
	}
	return specs[0].Params, nil
}

// LiveFronts finds the live front of every base there is; a base has none when a program
// took our layer out.
func (r *Reader) LiveFronts(ours *View) (map[targets.DevNo]*ioctl.Info, error) {
	fronts := map[targets.DevNo]*ioctl.Info{}
	for d := range ours.Devices() {
		if d.Role != plan.RoleBase {
			continue
		}
		live, _, err := r.frontBut(d.Dev, ours)
		if err != nil {
			return nil, err
		}
		if live != nil {
			fronts[d.Dev] = live
		}
	}
	return fronts, nil
}

// Front finds the device whose live table leads to a base, and tells whether an
// inactive one does. Both results are nil when a program took our table out.
func (r *Reader) Front(base targets.DevNo) (live, pending *ioctl.Info, err error) {
	return r.frontBut(base, &View{})
}

// frontBut passes over devices known to be no fronts, such as images.
func (r *Reader) frontBut(base targets.DevNo, ours *View) (live, pending *ioctl.Info, err error) {
	holders, err := r.mappedHolders(base)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range holders {
		if d := ours.At(h); d != nil && d.Role.Member() {
			continue
		}
		id := ioctl.ID{Dev: h}
		info, table, err := r.Table(id, 0)
		if errors.Is(err, ioctl.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if LeadsTo(table, base) {
			live = &info
		}
		if !info.Inactive {
			continue
		}
		if _, table, err = r.Table(id, ioctl.QueryInactive); err != nil {
			return nil, nil, err
		}
		if LeadsTo(table, base) {
			pending = &info
		}
	}
	return live, pending, nil
}

// LeadsTo tells whether a table is a snapshot-origin over a base.
func LeadsTo(t targets.Table, base targets.DevNo) bool {
	o, ok := targets.Only[targets.Origin](t)
	return ok && o.Dev.Path == "" && o.Dev.DevNo == base
}
