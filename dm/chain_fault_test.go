package dm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// chainOps are operations on sets a and b, b newer and read through by a.
func chainOps() map[string]func(*chain) error {
	remove := func(name string) func(*chain) error {
		return func(c *chain) error { return c.m.Remove(context.Background(), RemoveRequest{Name: name}) }
	}
	return map[string]func(*chain) error{
		"create":     func(c *chain) error { _, err := c.m.Create(c.ctx, c.request("c")); return err },
		"remove old": remove("a"),
		"remove new": remove("b"),
	}
}

// TestChainFailsAnywhere fails each system call in turn, and TestChainKilledAnywhere
// ends the process there: whatever comes of the operation, every image is right,
// and all can be removed without a trace.
func TestChainFailsAnywhere(t *testing.T) {
	hostOnly(t)
	for name, do := range chainOps() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; failChain(t, n, name, do) && !t.Failed(); n += sparse() {
			}
		})
	}
}

func failChain(t *testing.T, n int, name string, do func(*chain) error) (more bool) {
	t.Helper()
	c, clean := twoChained(t, ioctltest.Options{Udev: true})
	before := withoutLocks(c.Snapshot())
	failed := c.failNth(n, unix.EIO)
	err := do(c)
	c.Fail(nil)
	if failed.past {
		check(t, err)
		return false
	}
	what := fmt.Sprintf("EIO at call %d, %s: %v", n, failed, err)
	if err != nil && CodeOf(err) != CodeUnrecovered && CodeOf(err) != CodePartial && name == "create" {
		same(t, what, before, withoutLocks(c.Snapshot()))
	}
	c.endsRight(t, what)
	same(t, what, withoutData(withoutLocks(clean)), withoutData(withoutLocks(c.Snapshot())))
	return true
}

func TestChainKilledAnywhere(t *testing.T) {
	hostOnly(t)
	for name, do := range chainOps() {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " lost ", lost), func(t *testing.T) {
				t.Parallel()
				for n := 1; killChain(t, n, do, lost) && !t.Failed(); n += sparse() {
				}
			})
		}
	}
}

// killChain ends the process before a call; the state directory may go with it.
func killChain(t *testing.T, n int, do func(*chain) error, lost bool) (more bool) {
	t.Helper()
	c, clean := twoChained(t, ioctltest.Options{})
	at, err := c.die(n, func(*host) error { return do(c) })
	if at == nil {
		check(t, err)
		return false
	}
	c.Exit()
	if lost {
		for _, dir := range []string{"journal", "sets", "lock"} {
			c.each(t, dir, func(file string) error { return c.Border().Unlink(file) })
		}
		_, err := New(c.m.opts).Thaw(c.ctx, true)
		check(t, err)
	}
	what := fmt.Sprintf("killed before %s", at)
	c.endsRight(t, what)
	same(t, what, dmLines(clean), dmLines(c.Snapshot())) // a file half written may stay
	return true
}

// twoChained has sets a and b, and what the host looked like without.
func twoChained(t *testing.T, o ioctltest.Options) (c *chain, clean string) {
	t.Helper()
	c = newChain(t, o)
	clean = c.Snapshot()
	c.cut(t, "a")
	c.cut(t, "b")
	c.past["c"] = make([]byte, pastBytes)
	check(t, c.Read(c.home, 0, c.past["c"]))
	return c, clean
}

// endsRight recovers, looks at all images before and after more is written, and
// removes all sets.
func (c *chain) endsRight(t *testing.T, what string) {
	t.Helper()
	m := New(c.m.opts)
	_, err := m.Recover(c.ctx)
	check(t, err)
	c.cuts++
	c.write(t)
	sets, err := m.List(c.ctx)
	check(t, err)
	for _, set := range sets {
		if set.State != StateActive { // a create that lost its journal before its cut
			check(t, m.Remove(c.ctx, RemoveRequest{Name: set.Name}))
		}
	}
	c.right(t, what)
	for _, name := range []string{"b", "c", "a"} {
		if err := m.Remove(c.ctx, RemoveRequest{Name: name}); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
		c.right(t, what+", without "+name)
	}
}

// TestCoreLeftSuspended: the kernel refuses the swap that would chain an image, or the
// one by which a flattening begins, and the process dies before it lets the readers of that
// go on. Recover does.
func TestCoreLeftSuspended(t *testing.T) {
	hostOnly(t)
	for name, do := range map[string]func(*chain) error{
		"chained":   func(c *chain) error { _, err := c.m.Create(c.ctx, c.request("c")); return err },
		"flattened": func(c *chain) error { return c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, ioctltest.Options{})
			c.cut(t, "a")
			c.cut(t, "b")
			last := "b" // is chained by the next
			if name == "flattened" {
				c.cut(t, "c")
				last = "a"
			}
			core := "dmsnap-core-" + last + "-" + c.set(t, last).Name
			at, err := c.dieAt(func(call ioctltest.Call) bool {
				return call.Request == "DM_DEV_RESUME" && call.Name == core
			}, func(*host) error { return do(c) })
			if at == nil {
				t.Fatalf("nothing was swapped: %v", err)
			}
			c.Exit()
			ctl, err := c.Border().OpenControl()
			check(t, err)
			check(t, ctl.Clear(ioctl.ID{Name: core})) // as the kernel does
			check(t, ctl.Close())
			c.Suspend(core, true)
			_, err = New(c.m.opts).Recover(c.ctx)
			check(t, err)
			if text := c.Snapshot(); strings.Contains(lineOf(text, core), "suspended") {
				t.Errorf("left suspended:\n%s", lineOf(text, core))
			}
		})
	}
}

// TestForeignTableWaits in a core that somebody has suspended: to resume it would
// bring that table live, so recover leaves both alone.
func TestForeignTableWaits(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	c.cut(t, "a")
	c.cut(t, "b")
	core := "dmsnap-core-a-" + c.set(t, "a").Name
	ctl, err := c.Border().OpenControl()
	check(t, err)
	defer ctl.Close()
	c.Suspend(core, true)
	info, err := ctl.Status(ioctl.ID{Name: core})
	check(t, err)
	check(t, ctl.Load(ioctl.ID{Dev: info.Dev}, 0, []ioctl.Spec{{Length: 8, Type: "error"}}))
	before := c.Snapshot()
	_, err = c.m.Recover(c.ctx)
	check(t, err)
	same(t, "recovered", withoutLocks(before), withoutLocks(c.Snapshot()))
}

func lineOf(text, name string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, name) {
			return line
		}
	}
	return ""
}
