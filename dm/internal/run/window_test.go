package run_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestWindowCalls: from the first freeze on there is nothing but the calls of the
// plan, one round after the other.
func TestWindowCalls(t *testing.T) {
	g := newRig(t, ioctltest.Options{Udev: true})
	p := g.plan(g.request("nightly", names()...))
	_, err := g.runner().Run(background, p)
	check(t, err)
	log := g.Log()
	log = log[slices.IndexFunc(log, func(c ioctltest.Call) bool { return c.Request == "FIFREEZE" }):]
	for _, round := range [][]string{
		{"FIFREEZE", "FIFREEZE"}, // db, home
		{"FIFREEZE", "FIFREEZE"}, // the proofs
		looked("DM_DEV_SUSPEND boot", "DM_DEV_SUSPEND db", "DM_DEV_SUSPEND home"),
		{"DM_DEV_RESUME dmsnap-nightly-boot", "DM_DEV_RESUME dmsnap-nightly-db", "DM_DEV_RESUME dmsnap-nightly-home"},
		looked(
			"DM_DEV_RESUME boot", "DM_DEV_RESUME db", "DM_DEV_RESUME home",
			"DM_DEV_STATUS boot", "DM_DEV_STATUS db", "DM_DEV_STATUS home",
		),
		{"FITHAW", "FITHAW"},
	} {
		var got []string
		for _, c := range log[:len(round)] {
			got = append(got, strings.TrimSpace(c.Request+" "+c.Name))
		}
		log = log[len(round):]
		slices.Sort(got)
		if diff := cmp.Diff(round, got); diff != "" {
			t.Error(diff)
		}
	}
}

// looked adds the looks at both slots of each front.
func looked(calls ...string) []string {
	for _, front := range []string{"boot", "db", "home"} {
		calls = append(calls, "DM_TABLE_STATUS "+front, "DM_TABLE_STATUS "+front)
	}
	return calls
}

// meeting is a filesystem whose freeze returns when all others are being frozen
// too.
type meeting struct {
	run.Freezer
	*sync.WaitGroup
}

func (m meeting) Freeze() error {
	m.Done()
	m.Wait()
	return m.Freezer.Freeze()
}

// TestRoundsRunTogether: filesystems that have nothing to do with each other are
// frozen at the same time.
func TestRoundsRunTogether(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home", "db"))
	r := g.runner()
	var all sync.WaitGroup
	for key, f := range r.Freezers {
		all.Add(1)
		r.Freezers[key] = meeting{f, &all}
	}
	_, err := r.Run(background, p)
	check(t, err)
}

// TestResumedInside: somebody resumes a front while images go live. Nobody can
// vouch for the images then, so there are none.
func TestResumedInside(t *testing.T) {
	g := newRig(t, ioctltest.Options{Udev: true})
	p := g.plan(g.request("nightly", names()...))
	r := g.runner()
	before := g.Snapshot()
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_RESUME" && c.Name == "dmsnap-nightly-db" {
			g.Suspend("home", false)
		}
		return nil
	})
	if _, err := r.Run(background, p); !errors.Is(err, run.ErrResumed) {
		t.Errorf("got %v", err)
	}
	g.Fail(nil)
	if diff := cmp.Diff(before, g.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

// TestEverythingHoldsStill when the first image is resumed: every filesystem is
// frozen, that of a suspend too, and every front suspended.
func TestEverythingHoldsStill(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		g := newRig(t, o)
		p := g.plan(g.request("nightly", names()...))
		var looked atomic.Int32 // images are resumed at one time
		g.Fail(func(c ioctltest.Call) error {
			if c.Request != "DM_DEV_RESUME" || !strings.HasPrefix(c.Name, "dmsnap-nightly-") {
				return nil
			}
			looked.Add(1)
			for l := range strings.Lines(g.Snapshot()) {
				if strings.HasPrefix(l, "fs ") && strings.Contains(l, "frozen=0") {
					t.Errorf("at the resume of %s: %s", c.Name, l)
				}
			}
			for _, name := range names() {
				if !strings.Contains(g.state(name), " suspended") {
					t.Errorf("at the resume of %s: %s", c.Name, g.state(name))
				}
			}
			return nil
		})
		_, err := g.runner().Run(background, p)
		check(t, err)
		if n := looked.Load(); n != 3 {
			t.Errorf("%d images", n)
		}
	})
}

// state is the line of a device in the state dump.
func (g *rig) state(name string) string {
	for l := range strings.Lines(g.Snapshot()) {
		if strings.HasPrefix(l, "dm "+name+" ") && strings.Contains(l, " uuid=") {
			return l
		}
	}
	return name + " is not there"
}

func TestTrace(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "boot", "home", "db"))
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_SUSPEND" && c.Name == "db" {
			time.Sleep(6 * time.Millisecond)
		}
		return nil
	})
	trace, err := g.runner().Run(background, p)
	check(t, err)
	if !slices.Equal(trace.Proven, []int{0, 1}) && !slices.Equal(trace.Proven, []int{1, 2}) && !slices.Equal(trace.Proven, []int{0, 2}) {
		t.Errorf("proven: %v", trace.Proven)
	}
	for _, key := range trace.Proven {
		if g.systems[key].FSType == "vfat" {
			t.Error("a filesystem frozen by a suspend counts as proven")
		}
	}
	var want []string
	for _, s := range p.In(plan.Window) {
		want = append(want, s.String())
	}
	var got []string
	took := trace.End.Sub(trace.Start)
	for _, s := range trace.Steps {
		got = append(got, s.Step.String())
		if s.At < 0 || s.At+s.Took > took {
			t.Errorf("%s at %v for %v in a window of %v", s.Step, s.At, s.Took, took)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if trace.Skew == 0 || trace.Skew > took {
		t.Errorf("skew %v, window %v", trace.Skew, took)
	}
}

// TestInterruptedSuspend: the runtime sends itself signals.
func TestInterruptedSuspend(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home"))
	tries := 0
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_SUSPEND" && c.Name == "home" {
			if tries++; tries < 4 {
				return unix.EINTR
			}
		}
		return nil
	})
	if _, err := g.runner().Run(background, p); err != nil || tries != 4 {
		t.Error(tries, err)
	}
	g.running("interrupted")
}

// TestDeadline: a window that takes too long is given up, wherever it is, and
// everything is as before.
func TestDeadline(t *testing.T) {
	for _, request := range []string{"FIFREEZE", "DM_DEV_SUSPEND", "DM_DEV_RESUME"} {
		g := newRig(t, ioctltest.Options{Udev: true})
		p := g.plan(g.request("nightly", "home", "db"))
		before := g.Snapshot()
		var frozen atomic.Bool
		g.Fail(func(c ioctltest.Call) error {
			if c.Request == "FIFREEZE" {
				frozen.Store(true)
			}
			if frozen.Load() && c.Request == request {
				time.Sleep(25 * time.Millisecond)
			}
			return nil
		})
		r := g.runner()
		r.Deadline = 20 * time.Millisecond
		_, err := r.Run(background, p)
		if !errors.Is(err, run.ErrDeadline) {
			t.Errorf("%s takes long: %v", request, err)
		}
		g.Fail(nil)
		g.same(request+" takes long", before)
	}
}

// TestSlowThaw: the set is whole by then, and a late thaw is better than none.
func TestSlowThaw(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home", "db"))
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "FITHAW" {
			time.Sleep(600 * time.Millisecond)
		}
		return nil
	})
	r := g.runner()
	r.Deadline = 500 * time.Millisecond // enough for the rest on a busy machine
	if _, err := r.Run(background, p); err != nil {
		t.Error(err)
	}
	g.running("slow thaw")
}

// TestCancel: before the window everything is taken back, later it is too late.
func TestCancel(t *testing.T) {
	for _, step := range []struct {
		request string
		late    bool
	}{{"DM_DEV_CREATE", false}, {"DM_TABLE_LOAD", false}, {"FIFREEZE", true}, {"FITHAW", true}} {
		g := newRig(t, ioctltest.Options{Udev: true})
		p := g.plan(g.request("nightly", "home", "db"))
		before := g.Snapshot()
		ctx, cancel := context.WithCancel(background)
		g.Fail(func(c ioctltest.Call) error {
			if c.Request == step.request {
				cancel()
			}
			return nil
		})
		_, err := g.runner().Run(ctx, p)
		g.Fail(nil)
		cancel()
		if step.late {
			check(t, err)
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %s: %v", step.request, err)
		}
		g.same("cancelled at "+step.request, before)
	}
	cancelledBusy(t)
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home"))
	before := g.Snapshot()
	ctx, cancel := context.WithCancel(background)
	cancel()
	if _, err := g.runner().Run(ctx, p); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	g.same("cancelled before", before)
}

// cancelledBusy: taking back is not cancelled, and waits for what is busy.
func cancelledBusy(t *testing.T) {
	t.Helper()
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home"))
	before := g.Snapshot()
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	var release func()
	tries := 0
	g.Fail(func(c ioctltest.Call) error {
		switch {
		case c.Request == "DM_DEV_CREATE" && c.Name == "dmsnap-nightly-home":
			release = g.Hold(g.number("dmsnap-store-nightly-home"))
			cancel()
		case c.Request == "DM_DEV_REMOVE" && c.Name == "dmsnap-store-nightly-home":
			if tries++; tries == 2 {
				release()
			}
		}
		return nil
	})
	r := g.runner()
	r.BusyTimeout = time.Minute
	if _, err := r.Run(ctx, p); !errors.Is(err, context.Canceled) || tries != 2 {
		t.Errorf("%d tries, %v", tries, err)
	}
	g.Fail(nil)
	g.same("cancelled, and busy", before)
}
