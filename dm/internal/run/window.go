package run

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
)

// window is the part of a plan that blocks writers, as system calls encoded
// beforehand. Between the first and the last of them nothing is opened, written,
// logged, executed or waited for but the calls themselves.
type window struct {
	r          *Runner
	calls      []call
	threadPool *threadPool
	guard      Guard       // nil without one
	place      map[int]int // of filesystems in the order of freezes, by key
	start      time.Time
	// stuck: some writers are still blocked.
	stuck bool
}

type call struct {
	step       plan.Step
	dev        ioctl.DevNo   // devices
	freezer    Freezer       // filesystems
	look       *ioctl.Call   // fronts about to be resumed
	slots      *slots        // fronts
	spared     bool          // not even tried: the front was another program's by then
	do         *ioctl.Call   // devices
	undo       []*ioctl.Call // devices
	event      ioctl.Event
	done       bool
	err        error
	start, end time.Time
}

// run blocks the writers, and unblocks them whatever happens. Its threads are ours
// alone and the collector is off: neither a goroutine switch nor a collection
// may make them wait longer.
func (w *window) run() (Trace, error) {
	defer w.threadPool.close()
	if len(w.calls) == 0 {
		return Trace{}, nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer ioctl.RaisePriority()()
	defer withoutCollector()()
	if err := w.open(); err != nil {
		return Trace{}, errors.Join(err, w.settleEvents())
	}
	w.start = time.Now()
	begun, failed := w.forward()
	var undone error
	if failed >= 0 {
		undone = w.back(begun)
		w.stuck = undone != nil
	}
	end := time.Now()
	w.close(undone)
	if failed >= 0 {
		// One that took over may be in a round still. It would clear what is loaded from here on, and what
		// ends the danger of its first clear would not be brought live: a rename would corrupt the kernel's memory.
		w.r.stopGuard()
	}
	undone = errors.Join(undone, w.reinstate())
	settled := w.settleEvents()
	t := w.trace(end)
	if failed < 0 {
		return t, settled
	}
	c := &w.calls[failed]
	err := error(&StepError{c.step, c.err})
	if undone = errors.Join(undone, settled); undone != nil {
		err = &UndoError{Cause: err, Undo: undone}
	}
	return t, err
}

// keepDevices leaves what was made to recover, after a window that is stuck. By it
// recover knows that the freeze it finds is ours. Fronts are taken back all the
// same: it may go better now. The journal may lie on what is still blocked.
func (r *Runner) keepDevices() {
	r.Renew, r.stuck = nil, true
	r.undo = slices.DeleteFunc(r.undo, func(s plan.Step) bool {
		return s.Action == plan.RemoveDevice || s.Action == plan.WipeHeader || s.Action == plan.DropFile
	})
}

func (w *window) open() error {
	if w.guard == nil {
		return nil
	}
	if err := w.guard.Open(); err != nil {
		w.close(nil)
		return err
	}
	return nil
}

// close lets the guard go, unless something could not be taken back. What it has
// to say of itself changes no result.
func (w *window) close(undone error) {
	if w.guard == nil {
		return
	}
	end := w.guard.Close
	if undone != nil {
		end, w.r.guard = w.guard.Abandon, nil
	}
	if err := end(); err != nil {
		w.r.Log.Warn("the guard process failed", "error", err)
	}
}

func (w *window) lost() bool { return w.guard != nil && w.guard.Lost() }

// forward does the calls, one round after the other. It returns how many were
// begun and the first that failed, or -1.
func (w *window) forward() (begun, failed int) {
	for begun < len(w.calls) {
		first := begun
		begun = w.next(first)
		w.threadPool.all(first, begun, w.call)
		for i := range w.calls[first:begun] {
			if w.calls[first+i].err != nil {
				return begun, first + i
			}
		}
	}
	return begun, -1
}

// call does one call.
func (w *window) call(i int) {
	c := &w.calls[i]
	c.start = time.Now()
	if c.err = w.checkCall(c); c.err == nil {
		c.err = w.attempt(c)
	}
	c.end = time.Now()
	c.done = c.err == nil
}

// checkCall refuses a call that must not be made any more.
func (w *window) checkCall(c *call) error {
	if err := w.r.failpoint(c.step); err != nil {
		return err
	}
	late := w.r.Deadline > 0 && c.start.Sub(w.start) > w.r.Deadline
	switch {
	case late && c.step.Action != plan.Thaw:
		return ErrDeadline
	case w.lost():
		return ErrGuard
	}
	return nil
}

// attempt does the call. A suspend interrupted by a signal has undone itself
// and is repeated: the runtime sends itself signals.
func (w *window) attempt(c *call) error {
	switch c.step.Action {
	case plan.Freeze:
		return w.freeze(c)
	case plan.Prove:
		return c.freezer.Prove()
	case plan.Thaw:
		return w.thaw(c)
	case plan.Suspend:
		if err := c.slots.beforehand(); err != nil {
			c.spared = true
			return err
		}
	case plan.Resume:
		if err := c.checkStillSuspended(); err != nil {
			return err
		}
		if err := c.slots.untouched(); err != nil {
			return err
		}
	}
	return again(c.do)
}

// again repeats a call that was interrupted.
func again(c *ioctl.Call) error {
	for {
		if err := c.Do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// checkStillSuspended checks that a front is still suspended. If another program resumed
// it meanwhile, writes passed while images became live, and no other call would show it:
// the images would be damaged without any error.
func (c *call) checkStillSuspended() error {
	if c.look == nil {
		return nil
	}
	if err := c.look.Do(); err != nil {
		return err
	}
	if !c.look.State().Suspended {
		return ErrResumed
	}
	return nil
}

// freeze tells the guard before the call: should we die in it, only the guard
// can know that it may have come through.
func (w *window) freeze(c *call) error {
	if w.guard == nil {
		return c.freezer.Freeze()
	}
	place := w.place[c.step.Filesystem.Key]
	w.guard.Freezing(place)
	err := c.freezer.Freeze()
	w.guard.Froze(place, err == nil)
	return err
}

// thaw accepts that a guard that took over was faster.
func (w *window) thaw(c *call) error {
	err := c.freezer.Thaw()
	if w.guard == nil {
		return err
	}
	if w.guard.Lost() && errors.Is(err, freeze.ErrThawedByOther) {
		err = nil
	}
	if err == nil {
		w.guard.Froze(w.place[c.step.Filesystem.Key], false)
	}
	return err
}

// back takes back what was done, last first, and what a failed call may have
// left: a failed resume leaves a device suspended. Every undo is tried, but no
// thaw above a front that could not be resumed: it would never return.
func (w *window) back(begun int) error {
	var errs []error
	stuck := stuckFronts{volumes: w.r.plan.Volumes}
	for i := begun - 1; i >= 0; i-- {
		c := &w.calls[i]
		var err error
		switch {
		case c.spared, w.alreadyUndone(c, begun):
		case c.step.Action == plan.Freeze:
			if err = stuck.beneath(c.step.Filesystem); err != nil {
				break
			}
			if err = w.thaw(c); errors.Is(err, freeze.ErrThawedByOther) {
				err = nil // what we wanted to undo is undone
			}
		case len(c.undo) > 0:
			if err = c.takeBack(); err != nil && c.step.Role != plan.RoleBase {
				stuck.fronts = append(stuck.fronts, c.step.Device)
			}
		}
		if err != nil {
			errs = append(errs, &StepError{*c.step.Undo, err})
		}
	}
	return errors.Join(errs...)
}

// stuckFronts could not be resumed.
type stuckFronts struct {
	volumes []plan.Volume
	fronts  []string
	below   error // why what was frozen before stays so too
}

// beneath is why a filesystem cannot be thawed: it stands on a stuck front, or on
// files of one that does.
func (s *stuckFronts) beneath(f *plan.Filesystem) error {
	if s.below != nil {
		return s.below
	}
	for _, v := range s.volumes {
		on := slices.ContainsFunc(v.Origin.Filesystems, func(o plan.Filesystem) bool { return o.Key == f.Key })
		if !on || !slices.Contains(s.fronts, v.Front) {
			continue
		}
		err := fmt.Errorf("%w: %s could not be resumed", errLeftFrozen, v.Front)
		if f.Waits {
			s.below = err
		}
		return err
	}
	return nil
}

var errLeftFrozen = errors.New("still frozen")

// takeBack gives a front or a base the state it had. That a table could not be cleared
// matters only if the resume fails too.
func (c *call) takeBack() error {
	var cleared error
	c.slots.displace()
	for _, u := range c.undo[:len(c.undo)-1] {
		cleared = errors.Join(cleared, u.Do())
	}
	if err := again(c.undo[len(c.undo)-1]); err != nil {
		return errors.Join(err, cleared)
	}
	return nil
}

// alreadyUndone reports whether a later call of the window has the effect of the undo:
// the front was resumed, or the filesystem thawed.
func (w *window) alreadyUndone(c *call, begun int) bool {
	front := cmp.Or(c.step.Peer, c.step.Device)
	for i := range w.calls[:begun] {
		l := &w.calls[i]
		switch {
		case c.step.Role == plan.RoleBase && l.swapped(front):
			return true
		case !l.done:
		case len(c.undo) > 0 && l.step.Action == plan.Resume && l.step.Device == front:
			return true
		case c.step.Action == plan.Freeze && l.step.Action == plan.Thaw && l.step.Filesystem.Key == c.step.Filesystem.Key:
			return true
		}
	}
	return false
}

// swapped reports that another program resumed the front, and so its new table is
// live: what it stands on must not be turned back.
func (c *call) swapped(front string) bool {
	if c.look == nil || c.step.Device != front {
		return false
	}
	state := c.look.State()
	return state.Live && !state.Inactive
}

// settleEvents gives back the cookie counts of calls that raised no event.
func (w *window) settleEvents() error {
	var errs []error
	for i := range w.calls {
		c := &w.calls[i]
		if c.step.Action != plan.Resume && c.step.Action != plan.RemoveDevice {
			continue
		}
		err := c.err
		var info ioctl.Info
		if c.done {
			info = c.do.Info()
		} else if err == nil {
			err = unix.ECANCELED
		}
		errs = append(errs, c.event.Settle(info, err))
		if c.done && c.step.Action == plan.RemoveDevice {
			w.r.forget(c.step.Device)
		}
	}
	return errors.Join(errs...)
}

// past tells whether the window did something that cannot be put back: an image
// is gone, or a front or store of a final plan runs on its new table. Writes of a front
// reach no image from then on, so giving it the snapshot-origin back would not
// help; a store may have chunks in its new room.
func (w *window) past(final bool) bool {
	for _, c := range w.calls {
		swapped := c.step.Action == plan.Resume && (c.step.Role == plan.RoleFront || c.step.Role == plan.RoleStore)
		if c.done && (c.step.Action == plan.RemoveDevice || final && swapped) {
			return true
		}
	}
	return false
}
