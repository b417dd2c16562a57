package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

func (r *Runner) create(s plan.Step) error {
	if err := r.createNumbered(s); err != nil {
		return err
	}
	info, err := r.Control.Status(ioctl.ID{Name: s.Device})
	if err != nil {
		return err
	}
	r.devices[s.Device] = info.Dev
	r.made[s.Device] = node{info.Dev, s.Role == plan.RoleImage}
	delete(r.gone, s.Device)
	return nil
}

// createNumbered gives a device the number it is to have. Another device may have
// that: then any will do.
func (r *Runner) createNumbered(s plan.Step) error {
	if s.Minor != 0 {
		_, err := r.Control.Create(s.Device, s.UUID, ioctl.PersistentDev, ioctl.DevNo{Minor: s.Minor})
		if !errors.Is(err, unix.ENXIO) {
			return err
		}
	}
	return r.Create(s.Device, s.UUID)
}

// load puts a table into the inactive slot. Paths of mapped devices become
// numbers: a path would be looked up in our mount namespace at an instant when
// its node may not be there yet.
func (r *Runner) load(s plan.Step) error {
	if s.File != nil {
		table, done, err := r.storeTable(s)
		if err != nil {
			return err
		}
		s.Table, s.File = table, nil
		return errors.Join(r.load(s), done())
	}
	if s.Role == plan.RoleFront && len(s.Live) > 0 {
		if err := r.replaceable(s); err != nil {
			return err
		}
	}
	if err := r.fill(ioctl.ID{Name: s.Device}, s); err != nil {
		return err
	}
	var err error
	if r.loaded[s.Device], err = r.numbered(s.Table); err != nil {
		return err
	}
	return r.alone(s)
}

// fill loads the table of a step.
func (r *Runner) fill(id ioctl.ID, s plan.Step) error {
	specs, err := r.specs(s.Table)
	if err != nil {
		return err
	}
	flags := ioctl.SecureData
	if s.ReadOnly {
		flags |= ioctl.ReadOnly
	}
	return r.Control.Load(id, flags, specs)
}

func (r *Runner) specs(t targets.Table) ([]ioctl.Spec, error) {
	numbered, err := r.numbered(t)
	if err != nil {
		return nil, err
	}
	specs := make([]ioctl.Spec, len(numbered))
	for i, row := range numbered {
		specs[i] = ioctl.Spec{
			Start: uint64(row.Start), Length: uint64(row.Length),
			Type: row.Target.Type(), Params: row.Target.Params(),
		}
	}
	return specs, nil
}

func (r *Runner) numbered(t targets.Table) (targets.Table, error) {
	return t.Substitute(r.device)
}

func (r *Runner) device(d targets.Device) (targets.Device, error) {
	name, ok := plan.MappedName(d)
	if !ok {
		return d, nil
	}
	n, err := r.number(name)
	return targets.Device{DevNo: n}, err
}

func (r *Runner) number(name string) (targets.DevNo, error) {
	if n, known := r.devices[name]; known {
		return n, nil
	}
	info, err := r.Control.Status(ioctl.ID{Name: name})
	if err != nil {
		return targets.DevNo{}, err
	}
	r.devices[name] = info.Dev
	return info.Dev, nil
}

func (r *Runner) resume(s plan.Step) error {
	ev, err := r.event(s)
	if err != nil {
		return err
	}
	info, err := r.Control.Resume(ioctl.ID{Name: s.Device}, ioctl.SkipLockFS, ev)
	return errors.Join(err, ev.Settle(info, err))
}

// event is what a call tells udev. What it does for devices that come before the
// window is waited for there, lest it work on the processors that the window
// needs; what it does for an image that goes, at the end: until then a link has
// the image's name. The rest it does when it likes: the nodes of images and of
// hidden devices we make ourselves, fronts keep what they have.
func (r *Runner) event(s plan.Step) (ioctl.Event, error) {
	comes := s.Action == plan.Resume && s.Phase == plan.Prepare && s.Role != plan.RoleFront
	goes := s.Action == plan.RemoveDevice && (s.Role == plan.RoleImage || s.Role == plan.RoleAdopted)
	if comes || goes {
		return r.cookie.Event(udevFlags(s))
	}
	return ioctl.FlagsOnly(udevFlags(s)), nil
}

// udevFlags keep hidden devices, images and fronts of plain devices out of
// /dev/disk and away from scanners: an image has the origin's UUIDs, and a scanner
// that has it open makes its removal fail. Nodes of hidden devices we make ourselves,
// since no step waits until udev would have.
func udevFlags(s plan.Step) ioctl.UdevFlags {
	switch {
	case s.Role == plan.RoleImage:
		return ioctl.Hidden
	case s.Role == plan.RoleAdopted, s.Role == plan.RoleFront && !strings.HasPrefix(s.Device, plan.NamePrefix):
		return ioctl.PrimarySource
	}
	return ioctl.Hidden | ioctl.DisableDMRules
}

// remove retries a busy device for a while: udev opens every new device for a
// moment, told not to or not.
func (r *Runner) remove(ctx context.Context, s plan.Step) error {
	end := time.Now().Add(r.BusyTimeout)
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		err := r.removeOnce(s)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// removeOnce goes by uuid where the step has one: should another program have
// taken the name, his device stays.
func (r *Runner) removeOnce(s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	if s.UUID != "" {
		id = ioctl.ID{UUID: s.UUID}
	}
	ev, err := r.event(s)
	if err != nil {
		return err
	}
	r.unclaim(s.Device)
	info, err := r.Control.Remove(id, 0, ev)
	if err == nil {
		r.forget(s.Device)
	}
	return errors.Join(err, ev.Settle(info, err))
}

func (r *Runner) forget(name string) {
	delete(r.made, name)
	delete(r.devices, name)
	r.gone[name] = true
}

// takeBack hands over from the base to the front, whose own table is loaded. If
// that fails the base goes on to serve, should the front still stand on it.
func (r *Runner) takeBack(s plan.Step) error {
	_, err := r.Control.Suspend(ioctl.ID{Name: s.Device}, ioctl.SkipLockFS)
	if err == nil {
		_, err = r.Control.Suspend(ioctl.ID{Name: s.Peer}, ioctl.SkipLockFS)
	}
	if err == nil {
		err = r.resume(s)
	}
	if err == nil {
		return nil
	}
	if _, live, readErr := r.table(ioctl.ID{Name: s.Device}, 0); readErr != nil || !isOrigin(live) {
		return errors.Join(err, readErr)
	}
	id, base := ioctl.ID{Name: s.Device}, plan.Step{Action: plan.Resume, Role: plan.RoleBase, Device: s.Peer}
	// The slot first: the base and what waits there must not both run.
	return errors.Join(err, r.Control.Clear(id), r.resume(base), r.resume(s), slot.Renew(r.Control, id, udevFlags(s)))
}

func isOrigin(t targets.Table) bool {
	_, ok := targets.Only[targets.Origin](t)
	return ok
}

func (r *Runner) table(id ioctl.ID, flags ioctl.Flags) (ioctl.Info, targets.Table, error) {
	return stack.Table(r.Control, id, flags)
}

// verify checks that a device carries its table, is running, and, for an image,
// that the kernel has not dropped it.
func (r *Runner) verify(s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	info, live, err := r.table(id, 0)
	if err != nil {
		return err
	}
	if s.File != nil {
		s.Table = r.tables[s.Device]
	}
	want, err := r.numbered(s.Table)
	switch {
	case err != nil:
		return err
	case info.Suspended:
		return fmt.Errorf("%s is suspended", s.Device)
	case !live.Equal(want):
		return fmt.Errorf("%w: it is %q, not %q", ErrReloaded, live.Redacted(), want.Redacted())
	case s.Front != "":
		return r.verifyRedirect(s)
	case s.Role != plan.RoleImage && s.Role != plan.RoleCore:
		return nil
	}
	return r.active(s.Device, 0)
}
