package dm

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// killed is what the process dies of.
type killed struct{ call ioctltest.Call }

// die runs an operation whose process ends right before its call n.
func (h *host) die(n int, do func(*host) error) (at *ioctltest.Call, err error) {
	first := h.Calls()
	h.Fail(func(c ioctltest.Call) error {
		if c.N-first >= n { // what is deferred does not happen either
			panic(killed{c})
		}
		return nil
	})
	defer h.Fail(nil)
	defer func() {
		if k, dead := recover().(killed); dead {
			at = &k.call
		}
	}()
	return nil, do(h)
}

// TestKilledAnywhere ends the process before every single system call, without
// any guard. Afterwards recover leads to the state before, or to the state after
// if the record was written.
func TestKilledAnywhere(t *testing.T) {
	hostOnly(t)
	remove := operation{
		func(t *testing.T, h *host) { h.create(t, both()) },
		func(h *host) error { return h.m.Remove(context.Background(), "nightly") },
	}
	for name, op := range map[string]operation{"create": operations["create"], "create beside": operations["create beside"], "remove": remove} {
		t.Run(name, func(t *testing.T) {
			for _, udev := range []bool{true, false} {
				for n := 1; killOnce(t, ioctltest.Options{Udev: udev}, op, n) && !t.Failed(); n += step() {
				}
			}
		})
	}
}

func killOnce(t *testing.T, o ioctltest.Options, op operation, n int) (more bool) {
	t.Helper()
	h := newHost(t, o)
	op.prepare(t, h)
	before := withoutLocks(h.Snapshot())
	at, err := h.die(n, op.do)
	if at == nil {
		check(t, err)
		return false
	}
	what := fmt.Sprintf("killed before %s", at)
	h.Exit()
	next := New(h.m.opts)
	if _, err := next.Recover(context.Background()); err != nil {
		t.Errorf("%s: recover: %v", what, err)
		return true
	}
	if h.healthy(t); t.Failed() {
		t.Log(what)
	}
	if withoutLocks(h.Snapshot()) == before {
		return true
	}
	// Not before, so it must be after: complete, and removable without a trace.
	h.after(t, what, next, op)
	return true
}

// after expects that an operation came through: the next one finds a set to
// remove or none, and then nothing is left.
func (h *host) after(t *testing.T, what string, next *Manager, op operation) {
	t.Helper()
	set, err := next.Show(context.Background(), "nightly")
	if err == nil && set.State != StateActive {
		t.Errorf("%s: the set is %s: %s", what, set.State, set.Volumes[0].Reason)
	}
	if err == nil {
		check(t, next.Remove(context.Background(), "nightly"))
	} else if !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: %v", what, err)
	}
	fresh := newHost(t, ioctltest.Options{})
	op.prepare(t, fresh)
	if err := fresh.m.Remove(context.Background(), "nightly"); err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if left := dmLines(h.Snapshot()); left != dmLines(fresh.Snapshot()) {
		t.Errorf("%s: left over\n%swant\n%s", what, left, dmLines(fresh.Snapshot()))
	}
}

func TestLockedOriginNamesItsOwner(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	locks, err := h.m.state.Lock(4711, journal.OriginKey(h.home.String()))
	check(t, err)
	before := h.Snapshot()
	_, err = h.m.Create(context.Background(), both())
	owner, ok := errors.AsType[*journal.LockedError](err)
	if !errors.Is(err, ErrLocked) || !ok || owner.PID != 4711 {
		t.Errorf("got %v", err)
	}
	same(t, "while locked", before, h.Snapshot())
	check(t, locks.Release())
	h.create(t, both())
}
