package dm

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

const groupLock = "/run/lock/lvm/V_vg"

// lockedGroup has the group of a host as a command of lvm2's has it; nil: somebody else has.
func (h *host) lockedGroup(t *testing.T) *ioctl.File {
	t.Helper()
	f, err := h.Border().Open(groupLock, unix.O_CREAT|unix.O_APPEND|unix.O_RDWR, 0o777)
	check(t, err)
	if err := f.Lock(unix.LOCK_EX | unix.LOCK_NB); err != nil {
		check(t, f.Close())
		return nil
	}
	return f
}

// TestGroupIsBusy: while lvm2 is at a group nothing of its volumes changes, and who asks
// is told.
func TestGroupIsBusy(t *testing.T) {
	for name, op := range map[string]operation{
		"create": operations["create on a group"],
		"remove": killable()["remove from a group"],
		"cut": {
			on: newGroupHost, prepare: func(*testing.T, *host) {},
			do: func(h *host) error {
				p, err := h.m.Prepare(h.ctx, both()) // what it does takes no group
				if err == nil {
					_, err = p.Cut(h.ctx)
				}
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := op.host(t, ioctltest.Options{Udev: true})
			other, before := h.lockedGroup(t), withoutLocks(h.Snapshot())
			err := op.do(h)
			e, typed := errors.AsType[*Error](err)
			if !typed || e.Code != CodeBusy || !strings.Contains(e.Step, "volume group vg") || !strings.Contains(e.Hint, "volume group vg") {
				t.Errorf("got %+v", err)
			}
			same(t, "while it was locked", before, withoutLocks(h.Snapshot()))
			h.healthy(t)
			check(t, other.Close())
			check(t, op.do(h))
		})
	}
}

// resizer is an lvresize that meets an operation of ours: it takes its lock, loads a
// table unless one waits already, suspends, resumes.
type resizer struct {
	*host
	t      *testing.T
	row    ioctltest.Row
	whole  bool // else it stands still between its load and its suspend until we are done
	begun  bool
	held   *ioctl.File
	during string // the call of ours before which it began
}

func newResizer(t *testing.T, op operation, whole bool) *resizer {
	t.Helper()
	op.on = func(t *testing.T, o ioctltest.Options) *host {
		t.Helper()
		h := newGroupHost(t, o)
		disk := ioctl.DevNo{Major: 252, Minor: 240}
		h.AddDisk("vdp", disk, 32*mib)
		h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 18*mib)
		h.Reload("vg-home", ioctltest.Row{Length: 32768, Type: "linear", Params: disk.String() + " 0"})
		return h
	}
	return &resizer{
		host: op.host(t, ioctltest.Options{}), t: t, whole: whole,
		row: ioctltest.Row{Length: extended, Type: "linear", Params: "252:240 0"},
	}
}

// begin does nothing if we have the group: it waits until we are done.
func (z *resizer) begin(at string) {
	if z.held = z.lockedGroup(z.t); z.held == nil {
		return
	}
	z.begun, z.during = true, at
	if !strings.Contains(z.Snapshot(), "dm vg-home inactive ") {
		z.Load("vg-home", z.row)
	}
	if z.whole {
		z.end()
	}
}

func (z *resizer) end() {
	z.Suspend("vg-home", true)
	z.Suspend("vg-home", false)
	check(z.t, z.Border().Unlink(groupLock))
	check(z.t, z.held.Close())
	z.held = nil
}

// finish is what is left to do when our operation is over.
func (z *resizer) finish() {
	if !z.begun {
		z.whole = true
		z.begin("after it")
	} else if z.held != nil {
		z.end()
	}
}

func (z *resizer) table() string {
	for line := range strings.Lines(z.Snapshot()) {
		if table, ok := strings.CutPrefix(line, "dm vg-home live "); ok {
			return strings.TrimSpace(table)
		}
	}
	return ""
}

// TestResizedUnderALock: lvm2 resizes an origin at each call of an operation about it. Both know
// the lock of the group, so the volume is as lvm2 made it in the end, whoever came first.
func TestResizedUnderALock(t *testing.T) {
	hostOnly(t)
	first := CreateRequest{Name: "first", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vde"}}
	remove := func(h *host) error { return h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}) }
	for name, op := range map[string]operation{
		"create":        operations["create on a group"],
		"create beside": {prepare: func(t *testing.T, h *host) { h.create(t, first) }, do: operations["create on a group"].do},
		"remove":        killable()["remove from a group"],
		"remove beside": {prepare: func(t *testing.T, h *host) { h.create(t, first); h.create(t, both()) }, do: remove},
	} {
		for _, whole := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, at once %v", name, whole), func(t *testing.T) {
				t.Parallel()
				for n := 1; !t.Failed() && resizeAt(t, n, op, whole); n += 1 + step()/12 {
				}
			})
		}
	}
}

func resizeAt(t *testing.T, n int, op operation, whole bool) (more bool) {
	t.Helper()
	z := newResizer(t, op, whole)
	var seen atomic.Int64 // calls of a window run on several threads
	z.Fail(func(c ioctltest.Call) error {
		// Between these calls of ours nothing changes for lvm2.
		matters := c.Name == "vg-home" || strings.HasPrefix(c.Path, path.Dir(groupLock)+"/")
		if matters && seen.Add(1) == int64(n) { // its own calls come later
			more = true
			z.begin(c.String())
		}
		return nil
	})
	err := op.do(z.host)
	z.Fail(nil)
	z.finish()
	what := fmt.Sprintf("lvm2 at call %d, %s: %v", n, z.during, err)
	if err != nil && !slices.Contains([]Code{CodeBusy, CodePartial, CodeFreeze}, CodeOf(err)) {
		t.Errorf("%s: %v", what, CodeOf(err))
	}
	want := fmt.Sprintf("0 %d linear 252:240 0", extended)
	if over := strings.HasPrefix(z.table(), fmt.Sprintf("0 %d snapshot-origin", extended)); z.table() != want && !over {
		t.Errorf("%s: it runs on %q", what, z.table())
	}
	_, err = z.m.Recover(z.ctx)
	check(t, err)
	sets, err := z.m.List(z.ctx)
	check(t, err)
	for _, set := range sets {
		check(t, z.m.Remove(z.ctx, RemoveRequest{Name: set.Name}))
	}
	if left := z.Snapshot(); z.table() != want || strings.Contains(left, "DMSNAP") {
		t.Errorf("%s: without sets it runs on %q\n%s", what, z.table(), dmLines(left))
	}
	z.healthy(t)
	return more
}
