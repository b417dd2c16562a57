package dm

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func (h *host) prepare(t *testing.T, r CreateRequest) *Prepared {
	t.Helper()
	p, err := h.m.Prepare(context.Background(), r)
	check(t, err)
	return p
}

// TestPreparedHoldsNothing: between prepare and cut both origins have nothing but
// their own tables, nothing is frozen, open or mounted, and writes pass.
func TestPreparedHoldsNothing(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		h := newHost(t, o)
		remount := func() { // comes last in the table of mounts
			check(t, h.Border().Unmount("/home", 0))
			h.Mount(h.home, "/home", "ext4")
		}
		remount()
		before := h.Snapshot()
		p := h.prepare(t, both())
		for _, front := range []string{"home", "var"} {
			info, err := p.s.ctl.Status(ioctl.ID{Name: front})
			check(t, err)
			if info.Inactive || info.Suspended {
				t.Errorf("%s while prepared: %+v", front, info)
			}
		}
		remount()
		check(t, p.Abort(context.Background()))
		same(t, "after an abort", before, h.Snapshot())
		h.healthy(t)
	})
}

// TestPreparedCut is a whole life.
func TestPreparedCut(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		h := newHost(t, o)
		before := h.Snapshot()
		p := h.prepare(t, both())
		old := make([]byte, 64<<10)
		fill(old, 7) // written after the preparation, before the cut
		check(t, h.Write(h.home, 4*mib, old))
		set, err := p.Cut(context.Background())
		check(t, err)
		if set.State != StateActive || set.Receipt.Consistency != Filesystem || set.UUID != p.ID() || set.Name != p.Name() {
			t.Errorf("%+v", set)
		}
		for _, v := range set.Volumes {
			if err := h.Protected("dmsnap-nightly-" + v.Name); err != nil {
				t.Error(err)
			}
		}
		r, err := h.m.OpenVolume(context.Background(), OpenRequest{Set: "nightly", Volume: "home"})
		check(t, err)
		got := make([]byte, len(old))
		_, err = r.ReadAt(got, 4*mib)
		check(t, errors.Join(err, r.Close()))
		if string(got) != string(old) {
			t.Error("the image is older than the cut")
		}
		if _, err := p.Cut(context.Background()); !errors.Is(err, ErrNotFound) {
			t.Errorf("a second cut: %v", err)
		}
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		check(t, h.Write(h.home, 4*mib, make([]byte, len(old))))
		same(t, "after removal", before, h.Snapshot())
		h.healthy(t)
	})
}

// TestPreparedIsLocked: nobody else gets at the origins or the name, and nobody's
// recover takes it for interrupted.
func TestPreparedIsLocked(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	before := h.Snapshot()
	p := h.prepare(t, both())
	prepared := h.Snapshot()
	other := CreateRequest{Name: "other", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdd"}}
	if _, err := h.m.Create(context.Background(), other); !errors.Is(err, ErrLocked) {
		t.Errorf("a create beside it: %v", err)
	}
	if _, err := h.m.Recover(context.Background()); err != nil {
		t.Error(err)
	}
	same(t, "after others", withoutLocks(prepared), withoutLocks(h.Snapshot()))
	check(t, p.Abort(context.Background()))
	same(t, "after an abort", before, h.Snapshot())
}

// TestPreparedProcessDies: recover takes back what nobody can cut any more.
func TestPreparedProcessDies(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	before := h.Snapshot()
	h.prepare(t, both())
	h.Exit()
	_, err := h.m.Recover(context.Background())
	check(t, err)
	same(t, "after recover", withoutLocks(before), withoutLocks(h.Snapshot()))
}

// TestPreparedFactsAreRechecked changes the origins after the preparation. The
// cut is refused, and what the others did stays.
func TestPreparedFactsAreRechecked(t *testing.T) {
	for name, change := range map[string]func(h *host){
		"table":     func(h *host) { h.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:64 0"}) },
		"size":      func(h *host) { h.Reload("home", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:0 0"}) },
		"suspended": func(h *host) { h.Suspend("var", true) },
		"unmounted": func(h *host) { _ = h.Border().Unmount("/home", 0) },
		"mounted": func(h *host) {
			h.WriteFile("/opt/.keep", "")
			_ = h.Border().Unmount("/home", 0)
			over := h.AddDM("upper", "CRYPT-upper", ioctltest.Row{Length: 32768, Type: "linear", Params: h.home.String() + " 0"})
			h.Mount(over, "/opt", "ext4")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 16*mib)
			p := h.prepare(t, both())
			change(h)
			_, err := p.Cut(context.Background())
			if !errors.Is(err, ErrBusy) {
				t.Errorf("got %v", err)
			}
			if sets, err := h.m.List(context.Background()); err != nil || len(sets) != 0 {
				t.Errorf("sets %v, %v", sets, err)
			}
			h.healthy(t)
		})
	}
}

// TestFailedCutIsAsBeforeThePreparation fails every system call of the second
// phase in turn.
func TestFailedCutIsAsBeforeThePreparation(t *testing.T) {
	hostOnly(t)
	for n := 1; ; n += step() {
		h := newHost(t, ioctltest.Options{Udev: true})
		before := withoutLocks(h.Snapshot())
		p := h.prepare(t, both())
		failed := h.failNth(n, unix.EIO)
		_, err := p.Cut(context.Background())
		h.Fail(nil)
		h.healthy(t)
		if failed.past {
			check(t, err)
			return
		}
		what := fmt.Sprintf("EIO at call %d, %s: %v", n, failed, err)
		switch {
		case errors.Is(err, ErrUnrecovered):
			recoverTo(t, h, what, before)
		case err == nil, errors.Is(err, ErrPartial):
			check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
			same(t, what, before, withoutLocks(h.Snapshot()))
		default:
			same(t, what, before, withoutLocks(h.Snapshot()))
		}
		if t.Failed() {
			return
		}
	}
}

// TestPlansSplit: the early part of a plan touches no origin.
func TestPlansSplit(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	p := h.prepare(t, both())
	early, late := p.done.plan.Split()
	if len(early) == 0 || len(late) == 0 || len(early)+len(late) != len(p.done.plan.In(plan.Prepare)) {
		t.Errorf("%d early and %d late steps", len(early), len(late))
	}
	check(t, p.Abort(context.Background()))
}
