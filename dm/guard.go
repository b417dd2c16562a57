package dm

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/hook"
	"github.com/dmsnap/dmsnap/dm/internal/run"
)

// GuardMain is the life of a guard process; it returns its exit status. A
// program that names itself in Options.Guard calls it first thing in main when
// its arguments are those.
func GuardMain() int { return guard.Main() }

// What the dmsnap package installs.
const (
	// DefaultGuard is a program that is a guard when it is called with the argument
	// guard. It is used only if root alone can have put it there.
	DefaultGuard = "/usr/bin/dmsnap"
	// DefaultGuardSocket is where its service makes guards.
	DefaultGuardSocket = "/run/dmsnap/guard.sock"
)

// ErrNoGuard: no process would end the window if this one died in it.
var ErrNoGuard = errors.New("there is no guard")

// guardCommand is the guard to be started, with the socket to ask first; nil if
// there is to be none. An Error says why there cannot be one.
func (m *Manager) guardCommand() (command []string, socket string, err error) {
	switch {
	case m.opts.Guard != nil:
		return m.opts.Guard, m.opts.GuardSocket, nil
	case m.opts.NoGuard:
		return nil, "", nil
	}
	err = hook.Check(m.opts.Kernel, DefaultGuard)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %s is not installed", ErrNoGuard, DefaultGuard)
	case err != nil:
		err = fmt.Errorf("%w: users other than root could have put %s there, or it cannot be run", ErrNoGuard, DefaultGuard)
	default:
		return []string{DefaultGuard, "guard"}, DefaultGuardSocket, nil
	}
	return nil, "", &Error{
		Device: DefaultGuard, Code: CodeUnsupported, Err: err,
		Hint: "install the dmsnap package, or set Options.Guard to a program that calls GuardMain; with Options.NoGuard filesystems stay frozen if this process dies in the window",
	}
}

// needGuard refuses what begins something. What ends it, or puts it right, goes on
// without: it must not depend on a package that was removed.
func (s *session) needGuard() error {
	_, _, err := s.guardCommand()
	return err
}

// guard makes what starts a guard for one window, nil if there is none.
func (s *session) guard(f *facts, deadline time.Duration) func() (run.Guard, error) {
	command, socket, err := s.guardCommand()
	if err != nil || command == nil {
		return nil
	}
	return func() (run.Guard, error) {
		g, err := guard.Start(command, socket)
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

// Prepare takes the switch of the grace periods and locks our memory, then tells
// the guard what it needs to know.
func (o *owner) Prepare(fronts []guard.Front, keys []int) (err error) {
	w := guard.Spec{Deadline: o.deadline, Fronts: fronts, Locks: o.s.locked}
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
	return o.Guard.Prepare(w)
}

// Open starts the guard's clock, then expedites grace periods: the switch is the
// machine's, and from here on the guard puts it back if we cannot.
func (o *owner) Open() error { return errors.Join(o.Guard.Open(), o.expedite.On()) }

// Close goes the other way. The switch is free for other windows then.
func (o *owner) Close() error {
	return errors.Join(o.expedite.Off(), o.Guard.Close(), o.disarm())
}

// Abandon leaves the guard at work.
func (o *owner) Abandon() error { return errors.Join(o.expedite.Off(), o.Guard.Abandon(), o.disarm()) }

// Stop ends a guard that was not abandoned, used or not.
func (o *owner) Stop() error { return errors.Join(o.Guard.Stop(), o.disarm()) }

// disarm frees the switch of the grace periods and unlocks memory.
func (o *owner) disarm() error {
	err := o.expedite.Close()
	if o.unlock != nil {
		err = errors.Join(err, o.unlock())
	}
	o.expedite, o.unlock = nil, nil
	return err
}
