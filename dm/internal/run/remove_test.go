package run_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestCreateAndRemove: in the end nothing of ours is left.
func TestCreateAndRemove(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		g := newRig(t, o)
		before := g.Snapshot()
		p := g.cut("nightly", names()...)
		g.running("create")
		for _, v := range p.Volumes {
			check(t, g.Protected(v.Image))
		}
		_, err := g.runner().Run(background, g.removal(p))
		check(t, err)
		g.same("remove", before)
	})
}

// TestEveryCallOfRemoveFails in turn: either nothing has changed, or the error
// says that it went too far; writers run in any case.
func TestEveryCallOfRemoveFails(t *testing.T) {
	for name, prepare := range map[string]func(g *rig) *plan.Plan{
		"last": func(g *rig) *plan.Plan { return g.removal(g.cut("nightly", "home", "db")) },
		"beside": func(g *rig) *plan.Plan {
			g.cut("older", "home", "db")
			return g.removal(g.another("nightly", "home", "db"))
		},
		"mixed": func(g *rig) *plan.Plan { g.cut("older", "db"); return g.removal(g.another("nightly", "home", "db")) },
	} {
		t.Run(name, func(t *testing.T) {
			kernels(t, func(t *testing.T, o ioctltest.Options) { removeFails(t, o, prepare) })
		})
	}
}

func removeFails(t *testing.T, o ioctltest.Options, prepare func(g *rig) *plan.Plan) {
	t.Helper()
	done := ""
	for n := 0; ; n = next(n) { // 0: nothing fails
		g := newRig(t, o)
		p := prepare(g)
		before := g.Snapshot()
		failed := g.failAt(n, unix.EIO)
		_, err := g.runner().Run(background, p)
		g.Fail(nil)
		g.running(*failed)
		g.healthy(*failed)
		_, partial := errors.AsType[*run.PartialError](err)
		switch {
		case n == 0:
			check(t, err)
			done = g.Snapshot()
		case err == nil:
			g.same(*failed+", and nobody is told", done)
		case !partial:
			g.same(fmt.Sprintf("%s: %v", *failed, err), before)
		}
		if strings.Contains(g.warned.String(), "did not confirm") {
			t.Errorf("%s: waited for udev in vain: %s", *failed, g.warned)
		}
		if n > 0 && *failed == "" || t.Failed() {
			return
		}
	}
}

// another is a set beside one that has its stores on the usual disks.
func (g *rig) another(set string, origins ...string) *plan.Plan {
	g.t.Helper()
	r := g.request(set, origins...)
	g.spare(&r)
	p := g.plan(r)
	_, err := g.runner().Run(background, p)
	check(g.t, errors.Join(err, g.held.Close()))
	g.held = nil
	return p
}

// TestBusyDevice: udev opens new devices for a moment, told not to or not.
func TestBusyDevice(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	before := g.Snapshot()
	p := g.cut("nightly", "boot")
	removal := g.removal(p)
	release := g.Hold(g.number(p.Volumes[0].Image))
	tries := 0
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_REMOVE" && c.Name == p.Volumes[0].Image {
			if tries++; tries == 3 {
				release()
			}
		}
		return nil
	})
	r := g.runner()
	r.BusyTimeout = time.Minute
	_, err := r.Run(background, removal)
	check(t, err)
	if tries != 3 {
		t.Errorf("%d tries", tries)
	}
	g.same("remove", before)
}

// TestBusyTooLong: what is not held goes, and the error names what is.
func TestBusyTooLong(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.cut("nightly", "boot", "home")
	removal := g.removal(p)
	image := p.Volumes[0].Image
	defer g.Hold(g.number(image))()
	r := g.runner()
	r.BusyTimeout = 30 * time.Millisecond
	start := time.Now()
	_, err := r.Run(background, removal)
	_, partial := errors.AsType[*run.PartialError](err)
	if !partial || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), image) {
		t.Error(err)
	}
	if took := time.Since(start); took < r.BusyTimeout || took > 10*time.Second {
		t.Errorf("gave up after %v", took)
	}
	if _, err := g.ctl.Status(ioctl.ID{Name: p.Volumes[1].Image}); !errors.Is(err, ioctl.ErrNotFound) {
		t.Errorf("the other image: %v", err)
	}
}

func (g *rig) number(name string) ioctl.DevNo {
	g.t.Helper()
	info, err := g.ctl.Status(ioctl.ID{Name: name})
	check(g.t, err)
	return info.Dev
}
