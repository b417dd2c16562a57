package dm

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestGuardThatCannotStart: without the guard that was asked for nothing is cut.
func TestGuardThatCannotStart(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.m.opts.Guard = []string{"/nonexistent/guard"}
	before := h.Snapshot()
	_, err := h.m.Create(context.Background(), both())
	if CodeOf(err) != CodeFailed || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, code %s", err, CodeOf(err))
	}
	same(t, "without a guard", withoutLocks(before), withoutLocks(h.Snapshot()))
}

// TestGuardByDefault: what begins something needs the guard of the package, or one
// that was named, or the word that none is wanted; what ends it needs nothing. The
// package's is taken only if it is root's.
func TestGuardByDefault(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	h.m.opts.NoGuard = false
	r := both()
	r.Name = "next"
	before := h.Snapshot()
	refused := func(when string) {
		t.Helper()
		_, errC := h.m.Create(h.ctx, r)
		_, errP := h.m.Prepare(h.ctx, r)
		_, errA := h.m.Attach(h.ctx, "/dev/vdi1")
		for _, err := range []error{errC, errP, errA} {
			e, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, ErrNoGuard) || e.Code != CodeUnsupported || !strings.Contains(e.Hint, "Options.NoGuard") {
				t.Errorf("%s: %v", when, err)
			}
		}
		same(t, when, withoutLocks(before), withoutLocks(h.Snapshot()))
	}
	refused("not installed")
	if _, err := h.m.PlanCreate(h.ctx, r); errors.Is(err, ErrNoGuard) {
		t.Errorf("a plan: %v", err)
	}
	check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
	before = h.Snapshot()
	h.WriteFile(DefaultGuard, "")
	before = h.Snapshot()
	refused("not a program")
	check(t, h.Border().Chmod(DefaultGuard, 0o755))
	command, socket, err := h.m.guardCommand()
	if err != nil || len(command) != 2 || command[0] != DefaultGuard || socket != DefaultGuardSocket {
		t.Errorf("%q, %q, %v", command, socket, err)
	}
}

// TestRenamedInTheWindow: somebody renames an origin while it is suspended. Nobody
// stays held, and recover ends in before or after.
func TestRenamedInTheWindow(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		for _, request := range []string{"DM_DEV_SUSPEND", "DM_DEV_RESUME"} {
			h := newHost(t, o)
			renamed := false
			h.Fail(func(c ioctltest.Call) error {
				if c.Request != request || c.Name != "home" || renamed {
					return nil
				}
				renamed = true
				ctl, err := h.Border().OpenControl()
				check(t, err)
				_, err = ctl.Rename("home", "casa", ioctl.Event{})
				check(t, errors.Join(err, ctl.Close()))
				return nil
			})
			_, err := h.m.Create(context.Background(), both())
			t.Log(err)
			h.Fail(nil)
			letGo(t, h, "renamed at "+request)
			_, err = h.m.Recover(context.Background())
			check(t, err)
			sets, err := h.m.List(context.Background())
			check(t, err)
			active := len(sets) == 1 && sets[0].State == StateActive
			if left := strings.Contains(dmLines(h.Snapshot()), "dm dmsnap-"); !renamed || active != left {
				t.Errorf("renamed at %s: %v, %+v\n%s", request, renamed, sets, dmLines(h.Snapshot()))
			}
			h.healthy(t)
		}
	})
}

// TestExpeditedIsPutBack by recover and by thaw, and told; a window under way keeps
// it.
func TestExpeditedIsPutBack(t *testing.T) {
	const path = "/sys/kernel/rcu_expedited"
	for name, do := range map[string]func(h *host) string{
		"recover": func(h *host) string {
			r, err := h.m.Recover(h.ctx)
			check(t, err)
			return r.Expedited
		},
		"thaw": func(h *host) string {
			r, err := h.m.Thaw(h.ctx, false)
			check(t, err)
			return r.Expedited
		},
	} {
		h := newHost(t, ioctltest.Options{})
		e, err := guard.OpenExpedite(h.Border())
		check(t, err)
		check(t, e.On())
		if got := do(h); got != "" {
			t.Errorf("%s in progress: %q", name, got)
		}
		h.Exit()
		for _, want := range []string{"0", ""} {
			if got := do(h); got != want {
				t.Errorf("%s told %q, want %q", name, got, want)
			}
			if now, err := h.Border().ReadFile(path); err != nil || string(now) != "0\n" {
				t.Errorf("%s: now %q, %v", name, now, err)
			}
		}
	}
}
