package stack

import (
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// View is a picture of our devices as Look found them. Nothing changes it, so who
// decides twice on one view decides twice on the same. The zero value has none.
type View struct {
	devices []Device
	numbers map[targets.DevNo]*Device
	names   map[string]*Device
	members map[member]*Device
	volumes map[string]int              // of a set, by its id
	above   map[targets.DevNo][]*Device // snapshots, by the device they read first
}

// member is the part of a set that a device is.
type member struct {
	id     string
	volume int
	role   plan.Role
}

// Look lists our devices: one call, and two or three for each that is ours,
// however many others the host has. There is no other way to list them.
func (r *Reader) Look() (*View, error) {
	entries, err := r.Control.List(ioctl.ID{UUID: plan.UUIDPrefix})
	if err != nil {
		return nil, err
	}
	var devices []Device
	for _, e := range entries {
		d, err := r.device(e)
		if errors.Is(err, ioctl.ErrNotFound) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		if d != nil {
			devices = append(devices, *d)
		}
	}
	return NewView(devices), nil
}

// NewView is a view of devices that were read.
func NewView(devices []Device) *View {
	v := &View{
		devices: devices,
		numbers: map[targets.DevNo]*Device{}, names: map[string]*Device{}, members: map[member]*Device{},
		volumes: map[string]int{}, above: map[targets.DevNo][]*Device{},
	}
	for i := range devices {
		d := &devices[i]
		v.numbers[d.Dev], v.names[d.Name] = d, d
		if d.Role.Member() {
			v.members[member{d.ID, d.Volume, d.Role}] = d
			v.volumes[d.ID] = max(v.volumes[d.ID], d.Volume+1)
		}
		if lower, ok := d.Lower(); ok && d.Snapshot() {
			v.above[lower] = append(v.above[lower], d)
		}
	}
	v.joinLower()
	return v
}

// joinLower makes the device beneath a base with a layer known to it, and the redirect.
func (v *View) joinLower() {
	bases := map[string]*Device{}
	for i, d := range v.devices {
		if d.Role == plan.RoleBase {
			bases[d.ID] = &v.devices[i]
		}
	}
	for i, d := range v.devices {
		if base := bases[d.ID]; d.Role == plan.RoleLower && base != nil {
			base.Under, base.Redirect = &v.devices[i], d.Redirect
		}
	}
}

// Devices are all of ours, in the kernel's order.
func (v *View) Devices() iter.Seq[Device] { return slices.Values(v.devices) }

// Any tells whether one of them is as asked for.
func (v *View) Any(is func(Device) bool) bool { return slices.ContainsFunc(v.devices, is) }

// At is the device of ours with a number, nil if there is none.
func (v *View) At(dev targets.DevNo) *Device { return v.numbers[dev] }

// Named is the device of ours with a name, nil if there is none.
func (v *View) Named(name string) *Device { return v.names[name] }

// Member is a device of a set, nil if there is none.
func (v *View) Member(id string, volume int, role plan.Role) *Device {
	return v.members[member{id, volume, role}]
}

// Snapshot is the device of a volume that is the snapshot: its core, or its image
// if it has none; nil if there is neither.
func (v *View) Snapshot(id string, volume int) *Device {
	if core := v.Member(id, volume, plan.RoleCore); core != nil {
		return core
	}
	return v.Member(id, volume, plan.RoleImage)
}

// Store is the live store of a snapshot, nil if there is none.
func (v *View) Store(snap Device) *Device {
	if d := v.Member(snap.ID, snap.Volume, plan.RoleStore); d != nil && d.Info.Live {
		return d
	}
	return nil
}

// Base is the base with a number, nil if there is none.
func (v *View) Base(dev targets.DevNo) *Device {
	if d := v.At(dev); d != nil && d.Role == plan.RoleBase {
		return d
	}
	return nil
}

// OnLower is the base that stands on the device beneath a layer, or is about to; nil if
// there is none.
func (v *View) OnLower(lower Device) *Device {
	for i, d := range v.devices {
		if d.Role == plan.RoleBase && d.ID == lower.ID {
			return &v.devices[i]
		}
	}
	return nil
}

// IDs are those of all sets that have devices.
func (v *View) IDs() iter.Seq[string] { return maps.Keys(v.volumes) }

// Volumes is how many volumes a set has at least.
func (v *View) Volumes(id string) int { return v.volumes[id] }
