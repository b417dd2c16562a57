package run

import (
	"context"
	"errors"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// Run carries p out. Cancelling ctx before the window undoes everything; later
// it has no effect. If p is not final its finish steps are undone too when one
// fails.
func (r *Runner) Run(ctx context.Context, p *plan.Plan) (Trace, error) {
	if err := r.early(ctx, p, true); err != nil {
		return Trace{}, err
	}
	return r.late(ctx)
}

// Prepare carries out what touches no origin, and waits for udev. After it comes
// Cut or Abort, whenever one likes; after an error nothing, all is undone.
func (r *Runner) Prepare(ctx context.Context, p *plan.Plan) error {
	if err := r.early(ctx, p, false); err != nil {
		return err
	}
	if err := r.waitUdev(); err != nil {
		defer r.closeFiles()
		return r.rollback(ctx, err)
	}
	return nil
}

// Cut carries out the rest of what was prepared, as Run would.
func (r *Runner) Cut(ctx context.Context) (Trace, error) {
	if err := r.begin(); err != nil {
		defer r.closeFiles()
		return Trace{}, r.rollback(ctx, err)
	}
	return r.late(ctx)
}

// Abort undoes what was prepared, because of cause. It returns cause, or an
// UndoError.
func (r *Runner) Abort(ctx context.Context, cause error) error {
	defer r.closeFiles()
	return r.rollback(ctx, cause)
}

// early does the steps before the first that touches an origin. If the cut follows at
// once, the guard gets ready meanwhile.
func (r *Runner) early(ctx context.Context, p *plan.Plan, cutFollows bool) error {
	r.execution = newExecution(p)
	if err := r.begin(); err != nil {
		return err
	}
	steps, _ := p.Split()
	err := r.startGuard(cutFollows)
	if err == nil {
		err = r.prepare(ctx, steps)
	}
	if err != nil {
		defer r.closeFiles()
		defer r.stopGuard()
		return r.rollback(ctx, err)
	}
	return nil
}

// late does what is left of the prepare phase, the window and the finish.
func (r *Runner) late(ctx context.Context) (Trace, error) {
	defer r.closeFiles()
	defer r.stopGuard()
	defer r.unlockGroups()
	w, err := r.ready(ctx)
	if err != nil {
		return Trace{}, r.rollback(ctx, err)
	}
	if len(w.calls) > 0 {
		r.observe(plan.Window, plan.Step{})
	}
	r.Stalls.Now("")
	trace, err := w.run()
	r.done += len(w.calls)
	if err != nil {
		if w.stuck {
			r.keepDevices()
		}
		err = r.rollback(ctx, err)
		if w.past(r.plan.Final) {
			err = &PartialError{Err: err}
		}
		return trace, err
	}
	return trace, r.finish(context.WithoutCancel(ctx), r.plan, trace.End.Sub(trace.Start))
}

// closeFiles closes the files of stores; the loop devices hold references of their own. Images
// that did not go can be mounted again.
func (r *Runner) closeFiles() {
	for image := range r.claims {
		r.unclaim(image)
	}
	for _, f := range r.files {
		if err := f.Close(); err != nil {
			r.Log.Warn("closing a store's file failed", "path", f.Path(), "error", err)
		}
	}
}

// begin makes the cookie by which udev tells that it has seen our devices.
func (r *Runner) begin() (err error) {
	if r.cookie, r.Cookie = r.Cookie, nil; r.cookie != nil {
		return nil
	}
	if r.Kernel.UdevRunning() {
		r.cookie, err = r.Kernel.NewCookie()
	}
	return err
}

// renew is begin for what is taken back. Not to note the cookie costs a semaphore
// should the process die now; not to take back would cost more.
func (r *Runner) renew() error {
	if r.Cookie == nil && r.Renew != nil {
		var err error
		if r.Cookie, err = r.Renew(); err != nil {
			r.Log.Warn("the key of a udev cookie is not in the journal", "error", err)
		}
	}
	return r.begin()
}

// rollback undoes what was prepared, last first, whatever ctx says.
func (r *Runner) rollback(ctx context.Context, cause error) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	if r.cookie == nil {
		errs = append(errs, r.renew())
	}
	r.lockGroupsAgain(ctx)
	for i := len(r.undo) - 1; i >= 0; i-- {
		s := r.undo[i]
		r.Log.Debug("undo", "action", string(s.Action), "device", s.Device)
		r.observe(plan.Undo, s)
		r.Stalls.Now("undo: " + s.String())
		err := r.do(ctx, s)
		if errors.Is(err, ErrBypassed) { // what we wrote there is not where we could write it any more
			r.Log.Warn("not touched", "step", s.String(), "error", err)
		} else if err != nil && !errors.Is(err, ioctl.ErrNotFound) {
			errs = append(errs, &StepError{s, err})
		}
	}
	r.undo = nil
	if err := r.settle(); err != nil {
		errs = append(errs, err)
	}
	if undo := errors.Join(errs...); undo != nil {
		return &UndoError{Cause: cause, Undo: undo}
	}
	return cause
}

// pause is how long the steps after the window leave the processors to the
// writers at most.
const pause = 50 * time.Millisecond

// finish runs the steps after the window. Those of a final plan are all tried.
// Writers come first, for as long as they were held: they have work queued, and on
// a small machine would wait for ours, which is in no hurry.
func (r *Runner) finish(ctx context.Context, p *plan.Plan, held time.Duration) error {
	var errs []error
	for _, s := range p.In(plan.Finish) {
		if s.Action != plan.Hook && s.Action != plan.UnlockGroup { // others may be waiting for those
			time.Sleep(min(held, pause))
			held = 0
		}
		err := r.step(ctx, s)
		if err != nil && s.Optional {
			r.Log.Warn("not undone", "step", s.String(), "error", err)
			continue
		}
		if err == nil {
			continue
		}
		if !p.Final {
			return r.rollback(ctx, err)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return &PartialError{Err: err}
	}
	return nil
}
