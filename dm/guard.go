package dm

import (
	"errors"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/run"
)

// GuardMain is the life of a guard process; it returns its exit status. A
// program that names itself in Options.Guard calls it first thing in main when
// its arguments are those.
func GuardMain() int { return guard.Main() }

// DefaultGuardSocket is where the packages' service makes guards.
const DefaultGuardSocket = "/run/dmsnap/guard.sock"

// guard makes what starts a guard for one window, nil if none is wanted.
func (s *session) guard(f *facts, deadline time.Duration) func() (run.Guard, error) {
	if s.opts.Guard == nil {
		return nil
	}
	return func() (run.Guard, error) {
		g, err := guard.Start(s.opts.Guard, s.opts.GuardSocket)
		if err != nil {
			return nil, err
		}
		return &owner{Guard: g, s: s, facts: f, deadline: deadline}, nil
	}
}

// owner is all that holds for one window beside the window itself.
type owner struct {
	*guard.Guard
	s        *session
	facts    *facts
	deadline time.Duration

	expedite *guard.Expedite
	unlock   func() error
}

// Watch takes the switch of the grace periods and locks our memory, then tells
// the guard what it needs to know.
func (o *owner) Watch(fronts []guard.Front, keys []int) (err error) {
	w := guard.Watch{Deadline: o.deadline, Fronts: fronts}
	for _, key := range keys {
		w.Mounts = append(w.Mounts, o.facts.handles[key].Fd())
	}
	if o.expedite, err = guard.OpenExpedite(o.s.kernel); err != nil {
		return err
	}
	w.Expedite = o.expedite
	if o.s.opts.LockMemory {
		if o.unlock, err = run.LockMemory(); err != nil {
			return err
		}
	}
	return o.Guard.Watch(w)
}

// Open starts the guard's clock, then expedites grace periods: the switch is the
// machine's, and from here on the guard puts it back if we cannot.
func (o *owner) Open() error { return errors.Join(o.Guard.Open(), o.expedite.On()) }

// Close goes the other way. The switch is free for other windows then.
func (o *owner) Close() error {
	return errors.Join(o.expedite.Off(), o.Guard.Close(), o.letGo())
}

// Abandon leaves the guard at work.
func (o *owner) Abandon() error { return errors.Join(o.expedite.Off(), o.Guard.Abandon(), o.letGo()) }

// Release is for every guard that is not abandoned, used or not.
func (o *owner) Release() error { return errors.Join(o.Guard.Release(), o.letGo()) }

func (o *owner) letGo() error {
	err := o.expedite.Close()
	if o.unlock != nil {
		err = errors.Join(err, o.unlock())
	}
	o.expedite, o.unlock = nil, nil
	return err
}
