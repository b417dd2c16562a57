package dm

import (
	"errors"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
)

// GuardMain is the life of a guard process; it returns its exit status. A
// program that names itself in Options.Guard calls it first thing in main when
// its arguments are those.
func GuardMain() int { return freeze.GuardMain() }

// guard makes what starts a guard for one window, nil if none is wanted.
func (s *session) guard(f *facts, deadline time.Duration) func([]freeze.Front, []int) (run.Guard, error) {
	if s.opts.Guard == nil {
		return nil
	}
	return func(fronts []freeze.Front, keys []int) (run.Guard, error) {
		w := freeze.Watch{Deadline: deadline, Fronts: fronts}
		for _, key := range keys {
			w.Handles = append(w.Handles, f.handles[key])
		}
		return s.startGuard(w)
	}
}

func (s *session) startGuard(w freeze.Watch) (_ run.Guard, err error) {
	o := &owner{}
	if w.Expedite, err = freeze.OpenExpedite(s.kernel); err != nil {
		return nil, err
	}
	o.expedite = w.Expedite
	if s.opts.LockMemory {
		if o.unlock, err = ioctl.LockMemory(); err != nil {
			return nil, errors.Join(err, o.expedite.Close())
		}
	}
	if o.Guard, err = freeze.StartGuard(s.opts.Guard, w); err != nil {
		return nil, errors.Join(err, o.letGo())
	}
	return o, nil
}

// owner is all that holds for one window beside the window itself.
type owner struct {
	*freeze.Guard
	expedite *freeze.Expedite
	unlock   func() error
}

// Open starts the guard's clock, then expedites grace periods: the switch is the
// machine's, and from here on the guard puts it back if we cannot.
func (o *owner) Open() error { return errors.Join(o.Guard.Open(), o.expedite.On()) }

// Close goes the other way.
func (o *owner) Close() error { return errors.Join(o.expedite.Off(), o.Guard.Close()) }

// Abandon leaves the guard at work.
func (o *owner) Abandon() error { return errors.Join(o.expedite.Off(), o.Guard.Abandon(), o.letGo()) }

func (o *owner) Release() error { return errors.Join(o.Guard.Release(), o.letGo()) }

func (o *owner) letGo() error {
	err := o.expedite.Close()
	if o.unlock != nil {
		err = errors.Join(err, o.unlock())
	}
	return err
}
