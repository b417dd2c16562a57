package dm

import (
	"context"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// letGo ends the window of an operation that died in it: devices beneath run
// again, then fronts with the table they have, then what was frozen is thawed,
// which would never return above a suspended front.
func (s *session) letGo(ctx context.Context, i journal.Intent) error {
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	for d := range ours.Devices() {
		if d.ID == i.ID && d.Role != plan.RoleImage && d.Role != plan.RoleCore || slices.Contains(i.Bases, d.Name) {
			if err := s.endHold(d); err != nil {
				return err
			}
		}
	}
	for d := range ours.Devices() {
		if d.Role != plan.RoleBase {
			continue
		}
		fronts, err := s.read.Fronts(d)
		if err != nil {
			return err
		}
		for _, f := range fronts {
			if !slices.Contains(i.Bases, d.Name) && !slices.Contains(i.Origins, originOf(d, f).String()) {
				continue
			}
			if err := s.runFront(f, d); err != nil {
				return err
			}
		}
	}
	if i.Freezes && windowBegan(i.ID, ours) {
		thawed, err := s.thawOrigins(ctx, i.Origins)
		if len(thawed) > 0 {
			s.log.Warn("thawed a filesystem that an interrupted operation had frozen", "mountpoints", thawed)
		}
		if err != nil {
			return err
		}
	}
	if i.Cookie != "" {
		return s.kernel.RemoveCookie(i.Cookie)
	}
	return nil
}

// windowBegan tells whether a create may have frozen anything. All its images have
// their tables before that, and they go only after what was frozen is thawed. A
// freeze that is found without them is somebody else's.
func windowBegan(id string, ours *stack.View) bool {
	return ours.Any(func(d stack.Device) bool {
		return d.ID == id && d.Snapshot() && (d.Info.Live || d.Info.Inactive)
	})
}

// endHold makes a device of ours run again that keeps somebody waiting.
func (s *session) endHold(d stack.Device) error {
	if held, err := s.holds(d); err != nil || !held {
		return err
	}
	return s.runAgain(d.Info)
}

// originOf is the device whose writers use a front: the front itself, or the
// plain device beneath.
func originOf(base stack.Device, f stack.Front) targets.DevNo {
	if dev, plain := base.Interposed(); plain {
		return dev
	}
	return f.Info.Dev
}

// holds tells whether a device of ours keeps somebody waiting. An image whose
// table never went live is suspended too, but nobody uses it; nor does anybody
// use a base that was handed over and on which no front stands.
func (s *session) holds(d stack.Device) (bool, error) {
	if !d.Info.Live || !d.Info.Suspended || d.Role != plan.RoleBase || !plan.HandedOver(d.Table) {
		return d.Info.Live && d.Info.Suspended, nil
	}
	fronts, err := s.read.Fronts(d)
	return slices.ContainsFunc(fronts, func(f stack.Front) bool { return f.Live }), err
}

// runFront makes a front run with the table it has: what waits for a resume goes
// first. If that is another program's, it comes back when the front runs. A base that was handed over must not run
// beside its front's own table.
func (s *session) runFront(f stack.Front, base stack.Device) error {
	if f.Info.Inactive && !f.Foreign {
		if err := s.ctl.Clear(ioctl.ID{Dev: f.Info.Dev}); err != nil {
			return err
		}
	}
	if plan.HandedOver(base.Table) && !f.Live {
		if _, err := s.ctl.Suspend(ioctl.ID{Dev: base.Dev}, ioctl.SkipLockFS); err != nil {
			return err
		}
	}
	switch {
	case !f.Info.Suspended:
		return nil
	case f.Foreign:
		return s.resumeBeside(f.Info)
	}
	return s.resumeDevice(f.Info)
}

// resumeBeside resumes a device in whose inactive slot another program has a table:
// the resume must not bring that live, which is for the other one to do.
func (s *session) resumeBeside(info ioctl.Info) error {
	id := ioctl.ID{Dev: info.Dev}
	waits, specs, err := s.ctl.Table(id, ioctl.QueryInactive|ioctl.SecureData)
	if err == nil {
		err = s.runAgain(info)
	}
	if err != nil || len(specs) == 0 {
		return err
	}
	flags := ioctl.SecureData
	if waits.ReadOnly {
		flags |= ioctl.ReadOnly
	}
	return s.ctl.Load(id, flags, specs)
}

// runAgain does the same with a device of ours.
func (s *session) runAgain(info ioctl.Info) error {
	if info.Inactive {
		if err := s.ctl.Clear(ioctl.ID{Dev: info.Dev}); err != nil {
			return err
		}
	}
	return s.resumeDevice(info)
}

func (s *session) resumeDevice(info ioctl.Info) error {
	_, err := s.ctl.Resume(ioctl.ID{Dev: info.Dev}, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.PrimarySource))
	return err
}

// thawOrigins thaws the filesystems of fronts and of what stands on them, and
// returns the mount points of those that were frozen.
func (s *session) thawOrigins(ctx context.Context, fronts []string) ([]string, error) {
	systems, err := s.systemsOn(fronts)
	if err != nil {
		return nil, err
	}
	return freeze.Rescue(ctx, s.kernel, systems)
}

// systemsOn are the filesystems of fronts and of what stands on them.
func (s *session) systemsOn(fronts []string) (freeze.Plan, error) {
	mounted, err := s.mounts()
	if err != nil {
		return nil, err
	}
	var devices []freeze.Device
	for _, text := range fronts {
		front, err := targets.ParseDevNo(text)
		if err != nil {
			return nil, err
		}
		above, err := s.read.Above(front)
		if err != nil {
			return nil, err
		}
		for _, d := range above {
			devices = append(devices, freeze.Device{DevNo: d, Front: d == front})
		}
	}
	return mounted.Plan(devices...), nil
}
