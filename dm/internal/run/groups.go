package run

import (
	"context"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// groupHold is how long lvm2 has to wait for us at most, beside the deadline of the
// window. What is written before and while writers are held may itself wait for lvm2: a
// thin pool without room is extended by a command of its.
const groupHold = 20 * time.Second

// lockGroup keeps lvm2 from changing volumes of a group. It cannot be had for ever:
// lvm2 holds it while it moves or resizes something.
func (r *Runner) lockGroup(ctx context.Context, s plan.Step) error {
	l, err := lvmlock.Take(ctx, r.Kernel, s.Group, r.BusyTimeout, groupHold+r.Deadline)
	if err == nil {
		r.groups[s.Group] = l
	}
	return err
}

// checkGroupsLocked comes right before the window: without the locks, lvm2 could replace
// the tables in the fronts' inactive slots.
func (r *Runner) checkGroupsLocked() error {
	for group, l := range r.groups {
		if !l.Locked() {
			return &lvmlock.LostError{Group: group, After: groupHold + r.Deadline}
		}
	}
	return nil
}

// unlockGroup lets lvm2 work on the group again. A lock file that stays does no harm.
func (r *Runner) unlockGroup(s plan.Step) {
	l := r.groups[s.Group]
	if l == nil {
		return
	}
	delete(r.groups, s.Group)
	unlock := l.Unlock
	if r.stuck { // the file may lie on what is still frozen or suspended
		unlock = l.Drop
	}
	if err := unlock(); err != nil {
		r.Log.Warn("the lock of a volume group could not be released cleanly", "group", s.Group, "error", err)
	}
}

func (r *Runner) unlockGroups() {
	for group := range r.groups {
		r.unlockGroup(plan.Step{Group: group})
	}
}

// lockGroupsAgain is for what has to be undone after the groups were unlocked,
// since a step after the window failed. The fronts get their own tables in any case, and
// no blocked writer waits for lvm2.
func (r *Runner) lockGroupsAgain(ctx context.Context) {
	restores := slices.ContainsFunc(r.undo, func(s plan.Step) bool { return s.Action == plan.Restore })
	if !restores || r.stuck {
		return
	}
	for _, s := range r.undo {
		if s.Action != plan.UnlockGroup || r.groups[s.Group] != nil && r.groups[s.Group].Locked() {
			continue
		}
		if err := r.lockGroup(ctx, s); err != nil {
			r.Log.Warn("taken back without the lock of the volume group", "group", s.Group, "error", err)
		}
	}
}

// beforeLocks parts steps before the first that locks a group.
func beforeLocks(steps []plan.Step) (free, locked []plan.Step) {
	i := slices.IndexFunc(steps, func(s plan.Step) bool { return s.Action == plan.LockGroup })
	if i < 0 {
		i = len(steps)
	}
	return steps[:i], steps[i:]
}
