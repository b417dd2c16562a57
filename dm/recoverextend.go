package dm

import (
	"context"
	"errors"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
)

// recoverExtend ends an interrupted extend: it rolls forward if any store already has
// its new table, else it removes what was made for the new tables.
func (s *recovery) recoverExtend(ctx context.Context, i journal.Intent) error {
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	known, _ := s.remains.Set(ours, i.Set, i.ID)
	grown := known.HasGrown()
	for d := range ours.Devices() {
		if d.ID != i.ID || d.Role != plan.RoleStore || !d.Info.Live {
			continue
		}
		at := ioctl.ID{Dev: d.Dev}
		switch {
		case !grown: // its slot may have been cleared in haste
			err = slot.Renew(s.ctl, at, ioctl.Hidden)
		case d.Info.Inactive:
			err = s.swapIn(at)
		}
		if err != nil {
			return err
		}
	}
	if ours, err = s.read.Look(); err != nil {
		return err
	}
	// The record first: it must have the files that are in use before the intent goes.
	if err := s.noteStores(i); err != nil {
		return err
	}
	if err := errors.Join(s.pinAgain(i), s.removeFurther(ctx, i, ours)); err != nil {
		return err
	}
	return s.state.End(i)
}

// swapIn gives a device the table that waits. If the kernel refuses, it has
// suspended the device already and dropped that table.
func (s *recovery) swapIn(id ioctl.ID) error {
	resume := func() error {
		_, err := s.ctl.Resume(id, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.Hidden))
		return err
	}
	err := resume()
	if err != nil {
		err = errors.Join(err, resume())
	}
	return err
}

// removeFurther removes what an interrupted operation did not come to use: files that no
// table has, and labels of devices.
func (s *recovery) removeFurther(ctx context.Context, i journal.Intent, ours *stack.View) error {
	p := &plan.Plan{Op: i.Op, Set: i.Set, ID: i.ID}
	for n, f := range i.Files {
		if f == nil {
			continue
		}
		f.Owner = plan.OwnerOf(f.Path, i.ID, n)
		step := plan.Step{Phase: plan.Finish, Action: plan.DropFile, Role: plan.RoleStore, File: f}
		if d := ours.Member(i.ID, n, plan.RoleStore); d != nil {
			step.Device = d.Name
		}
		p.Steps = append(p.Steps, step)
	}
	unlabel, err := s.remains.Unlabel(i, ours)
	if err != nil {
		return err
	}
	if p.Steps = append(p.Steps, unlabel...); len(p.Steps) == 0 {
		return nil
	}
	p.Steps = append(p.Steps, plan.Step{Phase: plan.Finish, Action: plan.Settle}) // which gives the udev cookie back
	_, err = s.usualRunner().Run(ctx, p)
	return err
}

// pinAgain: older releases took the pin off a file while they made it larger.
func (s *recovery) pinAgain(i journal.Intent) error {
	record, err := s.state.LoadSet(i.Set)
	if len(i.Files) > 0 || err != nil || record.ID != i.ID {
		return nil
	}
	for _, v := range record.Volumes {
		for _, f := range v.Files() {
			if f.Path == "" {
				continue
			}
			if err := store.SetPinFlag(s.kernel, f); err != nil {
				return err
			}
		}
	}
	return nil
}
