package rescue

import (
	"context"
	"log/slog"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Rescuer acts through one control descriptor.
type Rescuer struct {
	Kernel  *ioctl.Kernel
	Control *ioctl.Control
	Read    *stack.Reader
	Log     *slog.Logger
}

// EndWindow resumes and thaws what an operation blocked that died in its window. Bases
// first, then fronts with the table they have, then what was frozen: a thaw never
// returns above a suspended front.
func (r *Rescuer) EndWindow(ctx context.Context, i journal.Intent) error {
	ours, err := r.Read.Look()
	if err != nil {
		return err
	}
	for d := range ours.Devices() {
		if d.ID == i.ID && d.Role != plan.RoleImage && d.Role != plan.RoleCore || slices.Contains(i.Bases, d.Name) {
			if err := r.resumeBlocked(d); err != nil {
				return err
			}
		}
	}
	for d := range ours.Devices() {
		if d.Role != plan.RoleBase {
			continue
		}
		fronts, err := r.Read.Fronts(d)
		if err != nil {
			return err
		}
		for _, f := range fronts {
			if !slices.Contains(i.Bases, d.Name) && !slices.Contains(i.Origins, OriginOf(d, f).String()) {
				continue
			}
			if err := r.ResumeFront(f, d); err != nil {
				return err
			}
		}
	}
	if i.Freezes && WindowBegan(i.ID, ours) {
		thawed, err := r.Thaw(ctx, i.Origins)
		if len(thawed) > 0 {
			r.Log.Warn("thawed a filesystem that an interrupted operation had frozen", "mountpoints", thawed)
		}
		if err != nil {
			return err
		}
	}
	if i.Cookie != "" {
		return r.Kernel.RemoveCookie(i.Cookie)
	}
	return nil
}

// WindowBegan tells whether a create may have frozen anything. All its images have
// their tables before that, and they go only after what was frozen is thawed. A
// freeze that is found without them is another program's.
func WindowBegan(id string, ours *stack.View) bool {
	return ours.Any(func(d stack.Device) bool {
		return d.ID == id && d.Snapshot() && (d.Info.Live || d.Info.Inactive)
	})
}

// resumeBlocked resumes a device of ours that keeps writers or readers waiting.
func (r *Rescuer) resumeBlocked(d stack.Device) error {
	if held, err := r.Blocks(d); err != nil || !held {
		return err
	}
	return r.Resume(d.Info)
}

// OriginOf is the device whose writers use a front: the front itself, or the
// plain device beneath.
func OriginOf(base stack.Device, f stack.Front) targets.DevNo {
	if dev, plain := base.Interposed(); plain {
		return dev
	}
	return f.Info.Dev
}

// Blocks reports whether a device of ours keeps writers or readers waiting. An image whose
// table never became live is suspended too, but not in use; nor is a base that was handed
// over and on which no front stands.
func (r *Rescuer) Blocks(d stack.Device) (bool, error) {
	if !d.Info.Live || !d.Info.Suspended || d.Role != plan.RoleBase || !plan.HandedOver(d.Table) {
		return d.Info.Live && d.Info.Suspended, nil
	}
	fronts, err := r.Read.Fronts(d)
	return slices.ContainsFunc(fronts, func(f stack.Front) bool { return f.Live }), err
}

// ResumeFront resumes a suspended front with the table it has: what waits for a resume
// goes first. If that is another program's, it comes back when the front runs. What waits
// in a front that runs, and what is wrong with a slot that was cleared here, teardown puts
// right, under lvm2's lock. A base that was handed over must not run
// beside its front's own table.
func (r *Rescuer) ResumeFront(f stack.Front, base stack.Device) error {
	if f.Info.Suspended && f.Info.Inactive && !f.Foreign {
		if err := r.Control.Clear(ioctl.ID{Dev: f.Info.Dev}); err != nil {
			return err
		}
	}
	if plan.HandedOver(base.Table) && !f.Live {
		if _, err := r.Control.Suspend(ioctl.ID{Dev: base.Dev}, ioctl.SkipLockFS); err != nil {
			return err
		}
	}
	switch {
	case !f.Info.Suspended:
		return nil
	case f.Foreign:
		return r.resumeBeside(f.Info)
	}
	return r.resume(f.Info)
}

// resumeBeside resumes a device in whose inactive slot another program has a table:
// the resume must not bring that live, which is for the other one to do.
func (r *Rescuer) resumeBeside(info ioctl.Info) error {
	id := ioctl.ID{Dev: info.Dev}
	waits, specs, err := r.Control.Table(id, ioctl.QueryInactive|ioctl.SecureData)
	if err == nil {
		err = r.Resume(info)
	}
	if err != nil || len(specs) == 0 {
		return err
	}
	flags := ioctl.SecureData
	if waits.ReadOnly {
		flags |= ioctl.ReadOnly
	}
	return r.Control.Load(id, flags, specs)
}

// Resume resumes a device of ours with the table it has.
func (r *Rescuer) Resume(info ioctl.Info) error {
	if info.Inactive {
		if err := r.Control.Clear(ioctl.ID{Dev: info.Dev}); err != nil {
			return err
		}
	}
	return r.resume(info)
}

func (r *Rescuer) resume(info ioctl.Info) error {
	_, err := r.Control.Resume(ioctl.ID{Dev: info.Dev}, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.PrimarySource))
	return err
}

// Thaw thaws the filesystems of fronts and of what stands on them, and
// returns the mount points of those that were frozen.
func (r *Rescuer) Thaw(ctx context.Context, fronts []string) ([]string, error) {
	systems, err := r.Filesystems(fronts)
	if err != nil {
		return nil, err
	}
	return freeze.Rescue(ctx, r.Kernel, systems)
}

// Filesystems are the filesystems of fronts and of what stands on them.
func (r *Rescuer) Filesystems(fronts []string) (freeze.Plan, error) {
	mounted, err := freeze.Mounts(r.Kernel)
	if err != nil {
		return nil, err
	}
	var devices []freeze.Device
	for _, text := range fronts {
		front, err := targets.ParseDevNo(text)
		if err != nil {
			return nil, err
		}
		above, err := r.Read.Above(front)
		if err != nil {
			return nil, err
		}
		for _, d := range above {
			devices = append(devices, freeze.Device{DevNo: d, Front: d == front})
		}
	}
	return mounted.Plan(devices...), nil
}
