package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// After carries out what comes when the outcome of a plan is on disk. A step that
// fails has changed nothing; it is told of.
func (r *Runner) After(ctx context.Context) {
	for _, s := range r.plan.In(plan.After) {
		if err := r.step(ctx, s); err != nil {
			r.Log.Warn("not undone", "step", s.String(), "error", err)
		}
	}
}

// chain loads a live image anew, over a newer one, and swaps it in with the one
// call that also drains its readers. The kernel has read the exceptions from the
// store by then: should it find fault with that, the image stays what it is, though a
// swap that failed leaves it suspended.
func (r *Runner) chain(s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	if err := r.load(s); err != nil {
		return err
	}
	err := r.active(s.Device, ioctl.QueryInactive)
	if err == nil {
		// Its node does not change: udev is told, and not waited for.
		_, err = r.Control.Resume(id, ioctl.SkipLockFS, ioctl.FlagsOnly(udevFlags(s)))
	}
	if err != nil {
		return errors.Join(err, slot.Drop(r.Control, id, ioctl.Hidden))
	}
	return r.verify(s)
}

// active checks that the kernel has not given an image up.
func (r *Runner) active(name string, flags ioctl.Flags) error {
	_, err := r.status(name, flags)
	return err
}

// status is that of a snapshot; an error if the kernel has given it up.
func (r *Runner) status(name string, flags ioctl.Flags) (st targets.SnapshotStatus, err error) {
	_, specs, err := r.Control.TargetStatus(ioctl.ID{Name: name}, flags)
	if err != nil || len(specs) != 1 {
		return st, errors.Join(err, fmt.Errorf("%s has no status", name))
	}
	st, err = targets.ParseSnapshotStatus(specs[0].Params)
	if err == nil && st.State != targets.Active {
		err = fmt.Errorf("%s is %s: the first writes to its store failed", name, specs[0].Params)
	}
	return st, err
}

// rename gives a device another name, in use or not, and its node with it.
func (r *Runner) rename(s plan.Step) error {
	n, err := r.number(s.Device)
	if err != nil {
		return err
	}
	ev, err := r.event(s)
	if err != nil {
		return err
	}
	info, err := slot.Rename(r.Control, s.Device, s.To, ev)
	if err == nil {
		r.forget(s.Device)
		r.devices[s.To], r.made[s.To] = n, node{dev: n}
	}
	return errors.Join(err, ev.Settle(info, err))
}
