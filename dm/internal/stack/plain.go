package stack

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Interposed is the plain device that a base leads to, if it does: by itself, or through
// the device beneath it, which leads there too.
func (d Device) Interposed() (targets.DevNo, bool) {
	if d.Under != nil {
		d = *d.Under
	}
	i, ok := targets.Only[targets.Interpose](d.Table)
	return i.Dev.DevNo, ok && (d.Role == plan.RoleBase || d.Role == plan.RoleLower)
}

// Adopter is the device that a plain one was put beneath, or that one itself.
func (r *Reader) Adopter(dev targets.DevNo, ours *View) targets.DevNo {
	name := plan.AdoptedName(plan.VolumeName(path.Base(r.Node(dev))))
	if d := ours.Named(name); d != nil && d.Role == plan.RoleAdopted {
		return d.Dev
	}
	return dev
}

// plain gathers what there is to know of a device that is not device-mapper's.
func (r *Reader) plain(o *plan.Origin, ours *View) error {
	o.Plain = &plan.Plain{Holders: r.HolderNames(o.Dev)}
	o.Volume = plan.VolumeName(path.Base(o.Path))
	if o.StoreOf = ours.StoreOf(o.Dev); o.StoreOf != "" {
		return nil
	}
	var err error
	if o.Plain.Partitioned, err = r.partitioned(o.Dev); err != nil {
		return err
	}
	for d := range ours.Devices() {
		if dev, ok := d.Interposed(); ok && dev == o.Dev && d.Role == plan.RoleBase {
			return r.Redirected(o, d, ours)
		}
	}
	interposer, err := r.Target("interpose")
	o.Plain.Interposer = interposer.Available
	return err
}

// Redirected fills in what stands on a plain device: base, and the front made with
// it, which may be incomplete. The plain device itself may be gone.
func (r *Reader) Redirected(o *plan.Origin, base Device, ours *View) error {
	if o.Plain == nil {
		o.Plain = &plan.Plain{}
	}
	o.Plain.Interposer = true
	b := ours.PlanBase(base)
	b.Redirect = base.Redirect
	for f := range ours.Devices() {
		if f.Role != plan.RoleFront || f.ID != base.ID {
			continue
		}
		o.Name, o.UUID = f.Name, f.UUID
		o.Suspended, o.InactiveLoaded = f.Info.Live && f.Info.Suspended, f.Info.Inactive
		_, table, err := r.Table(ioctl.ID{UUID: f.UUID}, 0)
		if err != nil && !errors.Is(err, ioctl.ErrNotFound) {
			return err
		}
		o.Table = table
		b.Fronted = LeadsTo(table, base.Dev)
	}
	o.Base = &b
	return nil
}

// partitioned tells whether a disk has partitions.
func (r *Reader) partitioned(d targets.DevNo) (bool, error) {
	names, err := r.Kernel.ReadDir(sysBlock(d))
	if err != nil {
		return false, err
	}
	for _, name := range names {
		text, err := r.attr(path.Join(sysBlock(d), name, "partition"))
		if err != nil && !errors.Is(err, unix.ENOTDIR) {
			return false, err
		}
		if text != "" {
			return true, nil
		}
	}
	return false, nil
}
