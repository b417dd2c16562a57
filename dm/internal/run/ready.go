package run

import (
	"context"
	"errors"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// ready does the last that comes before the window. Udev gets the processors
// first. What was dirtied since the filesystems were synced would have to be
// written while writers are held, so that comes last, once more.
func (r *Runner) ready(ctx context.Context) (*window, error) {
	_, steps := r.plan.Split()
	free, locked := beforeLocks(steps)
	err := r.startGuard(r.guard == nil)
	if err == nil {
		err = r.prepare(ctx, free)
	}
	if err == nil {
		r.drainUdev() // here, since its rules may call lvm2
		err = r.prepare(ctx, locked)
	}
	if err != nil {
		return nil, err
	}
	r.Stalls.Now("get the window ready")
	w, err := r.arm(r.plan.In(plan.Window))
	if err == nil {
		err = r.lastLook()
	}
	if err == nil {
		synced := slices.DeleteFunc(slices.Clone(steps), func(s plan.Step) bool { return s.Action != plan.SyncFS })
		err = errors.Join(r.syncAgain(synced), r.checkGroupsLocked())
	}
	if err != nil {
		return nil, errors.Join(err, w.disarm())
	}
	return w, nil
}

// lastLook comes before the last sync: it takes time, in which files get dirty.
func (r *Runner) lastLook() error {
	if r.LastLook == nil {
		return nil
	}
	return r.LastLook()
}

// syncAgain syncs filesystems, all at once.
func (r *Runner) syncAgain(steps []plan.Step) error {
	threadPool := newThreadPool(len(steps))
	defer threadPool.close()
	errs := make([]error, len(steps))
	threadPool.all(0, len(steps), func(i int) {
		if err := r.Freezers[steps[i].Filesystem.Key].SyncFS(); err != nil {
			errs[i] = &StepError{steps[i], err}
		}
	})
	return errors.Join(errs...)
}

// startGuard starts the guard early: it gets ready while the window is prepared.
// If no writer is blocked between two calls, none is needed.
func (r *Runner) startGuard(now bool) (err error) {
	holds := func(s plan.Step) bool {
		return s.Action == plan.Freeze || s.Action == plan.Suspend && s.Role == plan.RoleFront
	}
	if now && r.StartGuard != nil && slices.ContainsFunc(r.plan.In(plan.Window), holds) {
		r.guard, err = r.StartGuard()
	}
	return err
}

func (r *Runner) stopGuard() {
	if r.guard == nil {
		return
	}
	if err := r.guard.Stop(); err != nil {
		r.Log.Warn("the guard process failed", "error", err)
	}
	r.guard = nil
}
