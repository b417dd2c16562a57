package dm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// Kernels crash some time after a device is renamed whose slot was cleared
// (docs/kernel-notes.md). The kernel in memory notes both: the danger, as a fact of the
// device, in every test that compares states, and the crash.

// renamed gives every origin another name, and takes that back, as an administrator
// may at any time.
func (h *host) renamed(t *testing.T) {
	t.Helper()
	ctl, err := h.Border().OpenControl()
	check(t, err)
	defer ctl.Close()
	for _, dev := range []ioctl.DevNo{h.home, h.vard} {
		info, err := ctl.Status(ioctl.ID{Dev: dev})
		check(t, err)
		_, err = ctl.Rename(info.Name, info.Name+"2", ioctl.Event{})
		check(t, err)
		_, err = ctl.Rename(info.Name+"2", info.Name, ioctl.Event{})
		check(t, err)
	}
}

// failInWindow has the first step of the window fail.
func failInWindow(s plan.Step) error {
	if s.Phase == plan.Window {
		return unix.EIO
	}
	return nil
}

// killInWindow ends a create when all that it holds is held.
func (h *host) killInWindow(t *testing.T, do func(*host) error) {
	t.Helper()
	at, err := h.dieAt(func(c ioctltest.Call) bool { return c.Request == "DM_DEV_RESUME" && c.Name == "dmsnap-nightly-home" }, do)
	if at == nil {
		t.Fatalf("nobody died: %v", err)
	}
	h.Exit()
}

// TestRenamedAfterwards: origins are renamed after a create that failed, or was killed
// and ended by recover, after thaw or without. The next one finds a kernel that lives.
func TestRenamedAfterwards(t *testing.T) {
	hostOnly(t)
	for what, end := range map[string]func(t *testing.T, h *host, op operation){
		"failed": func(t *testing.T, h *host, op operation) {
			h.m.fail = failInWindow
			if err := op.do(h); err == nil {
				t.Fatal("it did not fail")
			}
			h.m.fail = nil
		},
		"renamed inside, and failed": func(t *testing.T, h *host, op operation) {
			ctl, err := h.Border().OpenControl()
			check(t, err)
			defer ctl.Close()
			before, rename := withoutLocks(h.Snapshot()), func(from, to string) {
				_, err := ctl.Rename(from, to, ioctl.Event{})
				check(t, err)
			}
			home, err := ctl.Status(ioctl.ID{Dev: h.home})
			check(t, err)
			var once sync.Once
			h.m.fail = func(s plan.Step) error {
				if s.Phase != plan.Window || s.Action != plan.Resume {
					return nil
				}
				once.Do(func() { rename(home.Name, "elsewhere") })
				return unix.EIO
			}
			if err := op.do(h); err == nil || errors.Is(err, ErrUnrecovered) {
				t.Fatalf("it was to fail and be taken back: %v", err)
			}
			h.m.fail = nil
			rename("elsewhere", home.Name)
			same(t, "taken back and renamed", before, withoutLocks(h.Snapshot()))
		},
		"killed, then thaw and recover": func(t *testing.T, h *host, op operation) {
			h.killInWindow(t, op.do)
			_, err := New(h.m.opts).Thaw(context.Background(), false)
			check(t, err)
			recovered(t, h)
		},
		"killed, then recover": func(t *testing.T, h *host, op operation) {
			h.killInWindow(t, op.do)
			recovered(t, h)
		},
	} {
		for _, name := range []string{"create", "create on a group"} {
			t.Run(what+", "+name, func(t *testing.T) {
				if name == "create on a group" && strings.HasPrefix(what, "killed") {
					return // the names of its devices are others
				}
				op := operations[name]
				h := op.host(t, ioctltest.Options{Udev: true})
				end(t, h, op)
				h.renamed(t)
				check(t, op.do(h))
				check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
				h.healthy(t)
			})
		}
	}
}

// TestRenamedLayer: a set becomes a layer, whose core and store are renamed, after the
// kernel refused to chain the one or to extend the other.
func TestRenamedLayer(t *testing.T) {
	hostOnly(t)
	for name, refuse := range map[string]func(t *testing.T, c *chain){
		"not chained": func(t *testing.T, c *chain) {
			core, once := "dmsnap-core-b-"+c.set(t, "b").Name, false
			c.Fail(func(call ioctltest.Call) error {
				if call.Request == "DM_DEV_RESUME" && call.Name == core && !once {
					once = true
					return unix.EIO
				}
				return nil
			})
			c.cut(t, "c")
			if !once {
				t.Error("nothing was to be chained")
			}
		},
		"chain killed": func(t *testing.T, c *chain) {
			core := "dmsnap-core-b-" + c.set(t, "b").Name
			at, err := c.dieAt(func(call ioctltest.Call) bool { return call.Request == "DM_DEV_RESUME" && call.Name == core }, func(*host) error {
				_, err := c.m.Create(c.ctx, c.request("c"))
				return err
			})
			if at == nil {
				t.Fatalf("nothing was to be chained: %v", err)
			}
			c.Exit()
			c.taken(t, "c")
			recovered(t, c.host)
		},
		"rename killed": func(t *testing.T, c *chain) {
			at, err := c.dieAt(func(call ioctltest.Call) bool { return call.Request == "DM_DEV_RENAME" }, func(*host) error {
				return c.m.Remove(c.ctx, RemoveRequest{Name: "b"})
			})
			if at == nil {
				t.Fatalf("nothing was to be renamed: %v", err)
			}
			c.Exit()
			recovered(t, c.host)
			if state := c.Snapshot(); strings.Contains(state, " inactive ") {
				t.Errorf("a table still waits:\n%s", dmLines(state))
			}
		},
		"not extended": func(t *testing.T, c *chain) {
			c.m.fail = failInWindow
			if _, err := c.m.Extend(c.ctx, ExtendRequest{Name: "b", Size: Size{Bytes: mib}, Relative: true}); err == nil {
				t.Error("extended all the same")
			}
			c.m.fail = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, ioctltest.Options{Udev: true})
			clean := c.Snapshot()
			c.cut(t, "a")
			r := c.request("b")
			r.StoreSize = Size{Bytes: 4 * mib}
			c.create(t, r)
			c.taken(t, "b")
			c.write(t)
			refuse(t, c)
			for _, set := range []string{"b", "a", "c"} {
				if err := c.m.Remove(c.ctx, RemoveRequest{Name: set}); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				c.right(t, "without "+set)
			}
			same(t, "without any", withoutData(withoutLocks(clean)), withoutData(withoutLocks(c.Snapshot())))
		})
	}
}

// TestKilledWhileTakenBack: an operation fails in its window, and is killed at any call
// by which it is taken back; or it is killed in its window, and so is recover. The next
// recover finds all that is left, and an origin that may be renamed.
func TestKilledWhileTakenBack(t *testing.T) {
	hostOnly(t)
	for _, first := range []string{"fails", "dies"} {
		for _, name := range []string{"create", "create on copies", "create on a group", "remove"} {
			if first == "dies" && (name == "create on a group" || name == "remove") {
				continue // recover ends all alike
			}
			t.Run(name+" "+first, func(t *testing.T) {
				t.Parallel()
				op := killable()[name]
				for n := 1; takenBackKilled(t, op, first == "fails", n) && !t.Failed(); n += step() {
				}
			})
		}
	}
}

func takenBackKilled(t *testing.T, op operation, fails bool, n int) (more bool) {
	t.Helper()
	h := op.host(t, ioctltest.Options{Udev: true})
	before := withoutStores(h.Snapshot())
	var failed atomic.Bool
	do := op.do
	if fails {
		h.m.fail = func(s plan.Step) error {
			if s.Phase != plan.Window || s.Action != plan.Resume {
				return nil
			}
			failed.Store(true)
			return unix.EIO
		}
	} else {
		h.killInWindow(t, op.do)
		failed.Store(true)
		do = func(h *host) error { _, err := New(h.m.opts).Recover(h.ctx); return err }
	}
	var left atomic.Int64
	left.Store(int64(n))
	at, err := h.dieAt(func(ioctltest.Call) bool { return failed.Load() && left.Add(-1) <= 0 }, do)
	if at == nil {
		if fails == (err == nil) {
			t.Errorf("it was to fail: %v, and returned %v", fails, err)
		}
		return false
	}
	h.Exit()
	what := fmt.Sprintf("killed before %s", at)
	recovered(t, h)
	h.healthy(t)
	letGo(t, h, what)
	after := withoutStores(h.Snapshot())
	if strings.Contains(after, "not-to-be-renamed") {
		t.Errorf("%s: an origin must not be renamed", what)
	}
	if !strings.Contains(before, "dmsnap-nightly") {
		same(t, what, withoutCookies(before), withoutCookies(after))
	} else if set, err := New(h.m.opts).Show(h.ctx, "nightly"); !errors.Is(err, ErrNotFound) && (err != nil || set.State != StateActive) {
		t.Errorf("%s: half a set is left: %v", what, err)
	}
	return true
}

// withoutCookies leaves semaphores out: that of a recovery is in no journal.
func withoutCookies(state string) string {
	lines := slices.DeleteFunc(strings.Split(state, "\n"), func(l string) bool { return strings.HasPrefix(l, "sem ") })
	return strings.Join(lines, "\n")
}
