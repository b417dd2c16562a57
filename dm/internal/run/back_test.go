package run_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestEveryFailpoint: each step of a plan fails before it runs.
func TestEveryFailpoint(t *testing.T) {
	boom := errors.New("failpoint")
	g := newRig(t, ioctltest.Options{})
	steps := len(g.plan(g.request("nightly", names()...)).Steps)
	for n := range steps {
		g := newRig(t, ioctltest.Options{Udev: n%2 == 0})
		p := g.plan(g.request("nightly", names()...))
		before := g.Snapshot()
		r := g.runner()
		r.Fail = func(s plan.Step) error {
			if s.Phase == p.Steps[n].Phase && s.String() == p.Steps[n].String() {
				return boom
			}
			return nil
		}
		_, err := r.Run(background, p)
		step, ok := errors.AsType[*run.StepError](err)
		if !ok || !errors.Is(err, boom) || step.Step.String() != p.Steps[n].String() || !strings.Contains(err.Error(), p.Steps[n].String()) {
			t.Errorf("step %d, %s: %v", n, p.Steps[n], err)
		}
		g.same(p.Steps[n].String(), before)
	}
}

// TestFrozenByOther: a freeze that is not ours stays, and nothing is taken.
func TestFrozenByOther(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home", "db"))
	g.Freeze("/home", true)
	before := g.Snapshot()
	if _, err := g.runner().Run(background, p); err == nil {
		t.Error("cut under a freeze of somebody else")
	}
	g.same("frozen by somebody else", before)
}

// TestFrontThatCannotBeResumed: nobody is told that all is well, the filesystem
// above stays frozen (a thaw would never return), and nothing else is held.
func TestFrontThatCannotBeResumed(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home", "db"))
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_RESUME" && c.Name == "db" {
			return unix.ENOMEM
		}
		return nil
	})
	_, err := g.runner().Run(background, p)
	g.Fail(nil)
	u, ok := errors.AsType[*run.UndoError](err)
	if !ok || !errors.Is(u.Cause, unix.ENOMEM) || !errors.Is(u.Undo, unix.ENOMEM) || !strings.Contains(err.Error(), "undoing it failed") ||
		!strings.Contains(err.Error(), "still frozen: db could not be resumed") {
		t.Errorf("%v", err)
	}
	g.healthy("resume fails for ever")
	for name, suspended := range map[string]bool{"home": false, "db": true} {
		if info, err := g.ctl.Status(ioctl.ID{Name: name}); err != nil || info.Suspended != suspended {
			t.Errorf("%s: suspended %v, %v", name, info.Suspended, err)
		}
	}
	frozen := map[string]bool{"/home": false, "/home/db": true}
	for _, h := range g.held.Handles() {
		if path := h.Filesystem().Mountpoint(); h.Frozen() != frozen[path] {
			t.Errorf("%s: frozen %v", path, h.Frozen())
		}
	}
}

// TestHeldAndNotWritten: while somebody is still held nothing is written, since the
// journal may lie on just that.
func TestHeldAndNotWritten(t *testing.T) {
	for _, held := range []bool{false, true} {
		g := newRig(t, ioctltest.Options{})
		p := g.plan(g.request("nightly", "home", "db"))
		r, asked := g.runner(), false
		r.Renew = func() (*ioctl.Cookie, error) {
			asked = true
			return nil, nil
		}
		g.Fail(func(c ioctltest.Call) error {
			if c.Request == "DM_DEV_RESUME" && c.Name == "db" && held {
				return unix.ENOMEM
			}
			return nil
		})
		r.Fail = func(s plan.Step) error {
			if s.Phase == plan.Window && s.Action == plan.Thaw && !held {
				return unix.EIO
			}
			return nil
		}
		_, err := r.Run(background, p)
		g.Fail(nil)
		if err == nil || asked == held {
			t.Errorf("held %v: the journal was asked for %v, %v", held, asked, err)
		}
	}
}

// TestFrontThatIsResumedLate: the fronts run again on their own tables. The
// filesystems stay as they are until their owner lets them go, and what was made
// stays too, to tell whose freeze it is.
func TestFrontThatIsResumedLate(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home", "db"))
	tries := 0
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_RESUME" && c.Name == "db" {
			if tries++; tries <= 2 {
				return unix.ENOMEM
			}
		}
		return nil
	})
	_, err := g.runner().Run(background, p)
	g.Fail(nil)
	if _, ok := errors.AsType[*run.UndoError](err); !ok || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	for _, h := range g.held.Handles() {
		check(t, h.Thaw())
	}
	g.running("resumed at the third try")
	_, err = g.ctl.Status(ioctl.ID{Name: plan.ImageName("nightly", "db")})
	check(t, err)
}

// TestFrozenWhileTakenBack: a swap back needs no freeze, so somebody else's does
// not stand in its way.
func TestFrozenWhileTakenBack(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		g := newRig(t, o)
		p := g.plan(g.request("nightly", "home"))
		before := g.Snapshot()
		r := g.runner()
		r.Fail = func(s plan.Step) error {
			if s.Phase != plan.Finish || s.Action != plan.Verify {
				return nil
			}
			g.Freeze("/home", true)
			return unix.EIO
		}
		_, err := r.Run(background, p)
		if _, stuck := errors.AsType[*run.UndoError](err); stuck || !errors.Is(err, unix.EIO) {
			t.Error(err)
		}
		g.Freeze("/home", false)
		g.same("frozen while taken back", before)
	})
}

// TestForeignTable: what somebody else loaded into a front before any step stays,
// and nothing is cut: the base would have the table of before.
func TestForeignTable(t *testing.T) {
	for n := 1; foreignTable(t, n); n++ {
	}
}

func foreignTable(t *testing.T, n int) (more bool) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "boot"))
	last := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Phase == plan.Finish && s.Action == plan.Verify })
	if n > last+1 { // later it is a set that was bypassed
		return false
	}
	r := g.runner()
	r.Fail = func(s plan.Step) error {
		if n--; n == 0 {
			g.Reload("boot", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:32 8"})
		}
		return nil
	}
	what := p.Steps[n-1].String()
	if _, err := r.Run(background, p); !errors.Is(err, run.ErrReloaded) && !errors.Is(err, run.ErrResumed) {
		t.Errorf("reloaded before %s: %v", what, err)
	}
	_, table, err := g.read.Table(ioctl.ID{Name: "boot"}, 0)
	if err != nil || table.String() != "0 16384 linear 252:32 8" {
		t.Errorf("reloaded before %s: %s, %v", what, table, err)
	}
	for l := range strings.Lines(g.Snapshot()) {
		if strings.Contains(l, "dmsnap") {
			t.Errorf("reloaded before %s: left over: %s", what, l)
		}
	}
	return true
}

// TestRenamedInside: fronts are renamed while they are suspended, and one gets the
// name of the other. Both run again on their own tables, nothing is left over, and
// that the set is not what was planned is told.
func TestRenamedInside(t *testing.T) {
	for _, fails := range []bool{false, true} {
		g := newRig(t, ioctltest.Options{Udev: true})
		p := g.plan(g.request("nightly", "home", "db"))
		renamed := false
		r := g.runner()
		r.Fail = func(s plan.Step) error {
			if s.Phase != plan.Window || s.Action != plan.Resume || s.Role != plan.RoleFront || renamed {
				return nil
			}
			renamed = true
			for _, names := range [][2]string{{"home", "casa"}, {"db", "home"}} {
				_, err := g.ctl.Rename(names[0], names[1], ioctl.Event{})
				check(t, err)
			}
			if fails {
				return unix.EIO
			}
			return nil
		}
		_, err := r.Run(background, p)
		if _, stuck := errors.AsType[*run.UndoError](err); !renamed || stuck || err == nil || fails != errors.Is(err, unix.EIO) {
			t.Errorf("fails %v: %v", fails, err)
		}
		for _, dev := range []ioctl.DevNo{g.devices["home"], g.devices["db"]} {
			info, specs, err := g.ctl.Table(ioctl.ID{Dev: dev}, 0)
			if err != nil || info.Suspended || info.Inactive || specs[0].Type != "linear" {
				t.Errorf("fails %v: %s is held, or not what it was: %+v, %v, %v", fails, dev, info, specs, err)
			}
		}
		for _, h := range g.held.Handles() {
			if h.Frozen() {
				t.Errorf("fails %v: %s is frozen", fails, h.Filesystem().Mountpoint())
			}
		}
		g.healthy("renamed inside")
	}
}
