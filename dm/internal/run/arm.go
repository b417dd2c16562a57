package run

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// arm encodes the window and gets the guard and the threads ready. Whatever it
// returns is to be run or disarmed.
func (r *Runner) arm(steps []plan.Step) (*window, error) {
	w := &window{r: r, calls: make([]call, 0, len(steps)), guard: r.guard, place: map[int]int{}}
	for _, s := range steps {
		c, err := r.encode(s)
		if err != nil {
			return w, &StepError{s, err}
		}
		w.calls = append(w.calls, c)
	}
	if err := w.instructGuard(); err != nil {
		return w, err
	}
	w.threadPool = newThreadPool(w.width())
	return w, nil
}

// disarm gives up a window that never began.
func (w *window) disarm() error {
	w.threadPool.close()
	return w.settleEvents()
}

// width is the number of calls of the largest round.
func (w *window) width() int {
	widest := 1
	for first := 0; first < len(w.calls); {
		next := w.next(first)
		widest = max(widest, next-first)
		first = next
	}
	return widest
}

// next is where the round ends that begins with a call.
func (w *window) next(first int) int {
	for first++; first < len(w.calls) && w.calls[first].step.Together; first++ {
	}
	return first
}

func (w *window) instructGuard() error {
	if w.guard == nil {
		return nil
	}
	var fronts []guard.Front
	var keys []int
	for _, c := range w.calls {
		switch {
		case c.step.Role == plan.RoleFront && c.step.Action == plan.Suspend:
			fronts = append(fronts, guard.Front{Dev: c.dev, Base: w.handedOver(c.step.Device), Waits: c.slots.waiting()})
		case c.step.Action == plan.Freeze:
			w.place[c.step.Filesystem.Key] = len(keys)
			keys = append(keys, c.step.Filesystem.Key)
		}
	}
	return w.guard.Prepare(fronts, keys)
}

// handedOver is the base that must not run together with its front's own table,
// zero if there is none.
func (w *window) handedOver(front string) ioctl.DevNo {
	for _, c := range w.calls {
		if c.step.Role == plan.RoleBase && c.step.Peer == front {
			return c.dev
		}
	}
	return ioctl.DevNo{}
}

// encode makes the call of one step. Devices are addressed by number from here on:
// writers must be unblocked even if a device is renamed meanwhile.
func (r *Runner) encode(s plan.Step) (c call, err error) {
	c.step = s
	if s.Device != "" {
		n, err := r.number(s.Device)
		if err != nil {
			return c, err
		}
		c.dev = n
	}
	err = r.encodeAction(&c)
	for _, made := range append([]*ioctl.Call{c.do, c.look}, c.undo...) {
		if made != nil {
			made.Named(s.Device)
		}
	}
	return c, err
}

func (r *Runner) encodeAction(c *call) (err error) {
	s, id := c.step, ioctl.ID{Dev: c.dev}
	switch s.Action {
	case plan.Freeze, plan.Prove, plan.Thaw:
		c.freezer = r.Freezers[s.Filesystem.Key]
	case plan.Suspend:
		flags := ioctl.SkipLockFS
		if s.LockFS {
			flags = 0
		}
		if c.do, err = r.Control.PrepareSuspend(id, flags); err == nil {
			c.undo, err = r.encodeResume(id, s)
			c.slots = r.slots[s.Device]
		}
	case plan.Resume:
		if c.event, err = r.event(s); err == nil {
			c.do, err = r.Control.PrepareResume(id, ioctl.SkipLockFS, c.event)
		}
		if err == nil && s.Role == plan.RoleStore {
			c.undo, err = r.encodeResume(id, s)
		}
		if err == nil && s.Role == plan.RoleFront {
			c.look, err = r.Control.PrepareStatus(id)
			c.slots = r.slots[s.Device]
		}
		if err == nil && s.Role == plan.RoleBase {
			c.undo, err = r.encodeSuspend(id)
		}
	case plan.RemoveDevice:
		if c.event, err = r.event(s); err == nil {
			c.do, err = r.Control.PrepareRemove(id, 0, c.event)
		}
	default:
		err = fmt.Errorf("%s inside the window: %w", s.Action, unix.ENOSYS)
	}
	return err
}

// encodeResume encodes the undo of a suspend: the device runs again with the table it
// has. Its inactive slot is cleared first: a resume would swap that table in.
func (r *Runner) encodeResume(id ioctl.ID, s plan.Step) ([]*ioctl.Call, error) {
	clear, err := r.Control.PrepareClear(id)
	if err != nil {
		return nil, err
	}
	resume, err := r.Control.PrepareResume(id, ioctl.SkipLockFS, ioctl.FlagsOnly(udevFlags(s)))
	return []*ioctl.Call{clear, resume}, err
}

// encodeSuspend encodes the undo of a base's resume; its front continues with the table
// that the base had.
func (r *Runner) encodeSuspend(id ioctl.ID) ([]*ioctl.Call, error) {
	suspend, err := r.Control.PrepareSuspend(id, ioctl.SkipLockFS)
	return []*ioctl.Call{suspend}, err
}
