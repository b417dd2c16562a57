// Package run carries a plan out: the prepare steps one by one with an undo
// stack, the window as calls encoded beforehand, the finish steps. Whatever
// fails, writers run again first, then everything else is taken back.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Runner has what steps need. One Runner carries out one plan.
type Runner struct {
	Kernel  *ioctl.Kernel
	Control *ioctl.Control
	// Create makes an empty device.
	Create func(name, uuid string) error
	// Freezers hold the descriptors of filesystems, by Filesystem.Key, opened and
	// checked before the window.
	Freezers map[int]Freezer
	Log      *slog.Logger
	// Watch says when a step outside the window does not come back; may be nil.
	Watch *StallWarner
	// Deadline bounds the window.
	Deadline time.Duration
	// BusyTimeout bounds the retries of a removal, and the wait for lvm2; UdevTimeout the wait for udev.
	BusyTimeout, UdevTimeout time.Duration
	// StartGuard starts the process that ends the window if we cannot. Nil: nobody
	// does.
	StartGuard func() (Guard, error)
	// LastLook compares what the plan rests on with what is there, when the window is
	// ready; an error takes everything back. May be nil.
	LastLook func() error
	// Hook calls a program with an event; for plans with hooks.
	Hook func(ctx context.Context, program, event string) error
	// Fail is a failpoint: it may fail any step before it runs. Nil in production.
	Fail func(step plan.Step) error
	// Observe is told of every step outside the window, before it is taken, with
	// how many of the plan's are done; and of the window before it opens. Nil:
	// nobody is.
	Observe func(phase plan.Phase, step plan.Step, done, total int)
	// Rate bounds what a fold copies in a second, in bytes; 0: nothing does. Copied
	// is told how far it is, in bytes; may be nil.
	Rate   uint64
	Copied func(done, total uint64)
	// Cookie counts the udev events of the run; nil: the run makes its own. Run
	// removes it in any case.
	Cookie *ioctl.Cookie
	// Renew makes another one for what is taken back when the first one is used up;
	// nil, or where it fails: the run makes its own.
	Renew   func() (*ioctl.Cookie, error)
	cookie  *ioctl.Cookie
	devices map[string]targets.DevNo // made or looked up by this run
	made    map[string]node          // devices that must have a node at the end
	gone    map[string]bool          // devices that must not
	files   map[string]*ioctl.File   // of stores behind loop devices, until the run ends
	linked  map[string]bool          // files this run tried to make: whether they got their name
	tables  map[string]targets.Table // loaded into stores that are made of files
	loaded  map[string]targets.Table // loaded into fronts
	claims  map[string]*ioctl.File   // images that nobody can mount meanwhile
	groups  map[string]*lvmlock.Lock // of LVM
	unwiped map[string]uint64        // files of stores: bytes to be zeroed through their filesystem
	slots   map[string]*slots        // of fronts, as they were when the window was prepared
	saved   map[string]kept          // of devices that became stores
	undo    []plan.Step
	plan    *plan.Plan
	done    int // steps of the plan
	total   int
	guard   Guard
	// guardNow: the cut follows at once, so that the guard can get ready meanwhile.
	guardNow bool
	stuck    bool       // not everybody could be let go
	failing  sync.Mutex // steps may run together, failpoints need not know
}

// Freezer holds one filesystem; *freeze.Handle is one. Freeze, Prove and Thaw
// make calls encoded beforehand and allocate nothing when they succeed. Thaw
// without a freeze of ours does nothing.
type Freezer interface {
	SyncFS() error
	Freeze() error
	Prove() error
	Thaw() error
}

// Guard is the owner's side of a guard process; see guard.Guard.
type Guard interface {
	// Watch tells it what to let go, and returns when it is ready: fronts in the
	// order of their suspends, filesystems by key in the order of their freezes.
	Watch(fronts []guard.Front, keys []int) error
	// Open comes right before the first call of the window, Close right after the
	// last one, Release some time later. Abandon instead of both leaves it to the
	// guard to let go what we could not.
	Open() error
	Close() error
	Release() error
	Abandon() error
	// Kind tells who made its process; see guard.Guard.
	Kind() string
	// Lost tells that the guard ended the window. Freezing and Froze tell it about
	// the filesystem with that place in the order of freezes.
	Lost() bool
	Freezing(i int)
	Froze(i int, held bool)
}

// Run carries p out. Cancelling ctx before the window undoes everything; later
// it has no effect. If p is not final its finish steps are undone too when one
// fails.
func (r *Runner) Run(ctx context.Context, p *plan.Plan) (Trace, error) {
	r.guardNow = true
	if err := r.early(ctx, p); err != nil {
		return Trace{}, err
	}
	return r.late(ctx)
}

// Prepare carries out what touches no origin, and waits for udev. After it comes
// Cut or Abort, whenever one likes; after an error nothing, all is undone.
func (r *Runner) Prepare(ctx context.Context, p *plan.Plan) error {
	if err := r.early(ctx, p); err != nil {
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

// early does the steps before the first that touches an origin.
func (r *Runner) early(ctx context.Context, p *plan.Plan) error {
	r.take(p)
	if err := r.begin(); err != nil {
		return err
	}
	steps, _ := p.Split()
	err := r.startGuard(r.guardNow)
	if err == nil {
		err = r.prepare(ctx, steps)
	}
	if err != nil {
		defer r.closeFiles()
		defer r.releaseGuard()
		return r.rollback(ctx, err)
	}
	return nil
}

func (r *Runner) take(p *plan.Plan) {
	r.plan, r.done, r.total = p, 0, len(p.Steps)
	r.devices, r.made, r.gone = map[string]targets.DevNo{}, map[string]node{}, map[string]bool{}
	r.files, r.linked, r.tables = map[string]*ioctl.File{}, map[string]bool{}, map[string]targets.Table{}
	r.loaded, r.slots, r.unwiped = map[string]targets.Table{}, map[string]*slots{}, map[string]uint64{}
	r.saved, r.claims = map[string]kept{}, map[string]*ioctl.File{}
	r.groups, r.stuck = map[string]*lvmlock.Lock{}, false
}

// late does what is left of the prepare phase, the window and the finish.
func (r *Runner) late(ctx context.Context) (Trace, error) {
	defer r.closeFiles()
	defer r.releaseGuard()
	defer r.unlockGroups()
	w, err := r.ready(ctx)
	if err != nil {
		return Trace{}, r.rollback(ctx, err)
	}
	if len(w.calls) > 0 {
		r.observe(plan.Window, plan.Step{})
	}
	r.Watch.Now("")
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

func (r *Runner) prepare(ctx context.Context, steps []plan.Step) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return &StepError{s, err}
		}
		// Before the step: one that fails may have done half of its work. Every
		// undo looks first whether there is anything to take back.
		if s.Undo != nil {
			r.undo = append(r.undo, *s.Undo)
		}
		if err := r.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) step(ctx context.Context, s plan.Step) error {
	r.Log.Debug("step", "action", string(s.Action), "device", s.Device)
	r.observe(s.Phase, s)
	r.done++
	r.Watch.Now(s.String())
	err := r.failpoint(s)
	if err == nil {
		err = r.do(ctx, s)
	}
	if err != nil {
		return &StepError{s, err}
	}
	return nil
}

func (r *Runner) observe(phase plan.Phase, s plan.Step) {
	if r.Observe != nil {
		r.Observe(phase, s, r.done, r.total)
	}
}

func (r *Runner) failpoint(s plan.Step) error {
	if r.Fail == nil {
		return nil
	}
	r.failing.Lock()
	defer r.failing.Unlock()
	return r.Fail(s)
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
		r.Watch.Now("undo: " + s.String())
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

// do carries one step out, outside the window.
func (r *Runner) do(ctx context.Context, s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	switch s.Action {
	case plan.CreateDevice:
		return r.create(s)
	case plan.LoadTable:
		return r.load(s)
	case plan.ClearTable:
		return r.clear(s)
	case plan.Suspend:
		_, err := r.Control.Suspend(id, ioctl.SkipLockFS|ioctl.NoFlush)
		return err
	case plan.Resume:
		return r.resume(s)
	case plan.RemoveDevice:
		return r.remove(ctx, s)
	case plan.WipeHeader:
		return r.wipe(s)
	case plan.SyncFS:
		return r.Freezers[s.Filesystem.Key].SyncFS()
	case plan.Restore:
		return r.restore(s)
	case plan.Claim:
		return r.claim(s)
	case plan.Expect:
		return r.expect(s)
	case plan.Verify:
		return r.verify(s)
	case plan.Attach:
		return r.redirect(s)
	case plan.Detach:
		return r.endRedirect(s)
	case plan.MakeFile:
		return r.makeFile(ctx, s)
	case plan.CheckFile:
		return r.checkFile(s)
	case plan.DropFile:
		return r.dropFile(ctx, s)
	case plan.LabelMedium:
		return r.labelMedium(s.Medium)
	case plan.PutBack:
		return r.putBackMedium(s.Medium)
	case plan.WipeLabel:
		return r.wipeLabel(s.Medium)
	case plan.Chain:
		return r.chain(s)
	case plan.Rename:
		return r.rename(s)
	case plan.FoldChunks:
		return r.fold(ctx, s)
	case plan.LockGroup:
		return r.lockGroup(ctx, s)
	case plan.UnlockGroup:
		r.unlockGroup(s)
		return nil
	case plan.Hook:
		return r.Hook(ctx, s.Program, s.Event)
	case plan.Settle:
		for _, name := range s.Gone {
			r.gone[name] = true
		}
		return r.settle()
	}
	return fmt.Errorf("%s: %w", s.Action, unix.ENOSYS)
}
