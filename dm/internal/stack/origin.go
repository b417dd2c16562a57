package stack

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Origin gathers the facts of one origin.
func (r *Reader) Origin(spec string, dev targets.DevNo, ours *View) (plan.Origin, error) {
	o := plan.Origin{Spec: spec, Dev: dev, Path: r.Node(dev)}
	if err := r.geometry(&o); err != nil {
		return o, err
	}
	var err error
	if o.Beneath, err = r.Beneath(dev); err != nil {
		return o, err
	}
	if o.Depth, err = r.depth(dev); err != nil {
		return o, err
	}
	info, table, err := r.Table(ioctl.ID{Dev: dev}, 0)
	if errors.Is(err, ioctl.ErrNotFound) {
		return o, r.plain(&o, ours)
	}
	if err != nil {
		return o, err
	}
	o.Name, o.UUID, o.Table = info.Name, info.UUID, table
	if info.Live {
		o.Size = table.Size() // it may have been resized since
	}
	o.Volume = plan.VolumeName(info.Name)
	o.Suspended = info.Suspended
	if o.InactiveLoaded, err = r.changing(info, table); err != nil {
		return o, err
	}
	if _, _, role, ok := plan.ParseUUID(info.UUID); ok && role != plan.RoleAdopted {
		o.Role = role
		return o, nil
	}
	o.StoreOf = ours.StoreOf(dev)
	o.Base = ours.baseOfOrigin(&o)
	if plan.HandedOver(table) {
		o.Status, err = r.statusLine(ioctl.ID{Dev: dev})
	}
	return o, err
}

// changing tells whether a table waits that a resume would change the device with. One
// that equals the live table is left by an operation of ours that died.
func (r *Reader) changing(info ioctl.Info, live targets.Table) (bool, error) {
	if !info.Inactive {
		return false, nil
	}
	_, waiting, err := r.Table(ioctl.ID{Dev: info.Dev}, ioctl.QueryInactive)
	return len(waiting) > 0 && !waiting.Equal(live), err
}

func (r *Reader) geometry(o *plan.Origin) error {
	g, err := r.Geometry(o.Path)
	o.Size, o.LogicalBlock, o.ReadOnly = g.Size, g.LogicalBlock, g.ReadOnly
	return err
}

// Geometry is what a block device says of itself.
type Geometry struct {
	Size         targets.Sectors
	LogicalBlock uint32
	ReadOnly     bool
}

// Geometry opens a device for a moment, read-only: a descriptor for writing
// would be refused on mounted devices where the kernel protects them
// (bdev_allow_write_mounted), and closing one makes udev scan it.
func (r *Reader) Geometry(node string) (Geometry, error) {
	f, err := r.Kernel.Open(node, unix.O_RDONLY, 0)
	if err != nil {
		return Geometry{}, err
	}
	defer f.Close()
	size, err := f.BlockSize()
	if err != nil {
		return Geometry{}, err
	}
	logical, _, err := f.SectorSizes()
	if err != nil {
		return Geometry{}, err
	}
	ro, err := f.ReadOnly()
	return Geometry{Size: targets.Sectors(size / 512), LogicalBlock: logical, ReadOnly: ro}, err
}

// base finds an origin's layer: through the live table, or by name if a program
// took the front's snapshot-origin away.
func (v *View) baseOfOrigin(o *plan.Origin) *plan.Base {
	var found *plan.Base
	for d := range v.Devices() {
		fronted := LeadsTo(o.Table, d.Dev)
		if d.Role != plan.RoleBase || !fronted && d.Name != plan.BaseName(o.Volume) {
			continue
		}
		b := v.PlanBase(d)
		b.Fronted = fronted
		if found = &b; fronted {
			break // a device that was renamed has another's name on its base
		}
	}
	return found
}
