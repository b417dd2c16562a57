package run_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

var background = context.Background()

// creations are what is made to fail: two nested filesystems; one frozen by the
// suspend; a second set beside a first.
var creations = map[string]func(g *rig) plan.CreateRequest{
	"two":    func(g *rig) plan.CreateRequest { return g.request("nightly", "home", "db") },
	"lockfs": func(g *rig) plan.CreateRequest { return g.request("nightly", "boot") },
	"beside": func(g *rig) plan.CreateRequest {
		g.cut("first", "home")
		r := g.request("second", "home", "boot")
		g.spare(&r)
		return r
	},
}

// TestEveryCallOfCreateFails in turn: the state is the one before, and writers
// run.
func TestEveryCallOfCreateFails(t *testing.T) {
	for name, prepare := range creations {
		t.Run(name, func(t *testing.T) {
			kernels(t, func(t *testing.T, o ioctltest.Options) {
				createFails(t, o, unix.EIO, prepare)
			})
		})
	}
}

// TestEveryCallOfCreateIsBusy: the errno that is tried again.
func TestEveryCallOfCreateIsBusy(t *testing.T) {
	createFails(t, ioctltest.Options{Udev: true}, unix.EBUSY, creations["two"])
}

func createFails(t *testing.T, o ioctltest.Options, errno unix.Errno, prepare func(g *rig) plan.CreateRequest) {
	t.Helper()
	done := ""
	for n := 0; ; n = next(n) { // 0: nothing fails
		g := newRig(t, o)
		p := g.plan(prepare(g))
		before := g.Snapshot()
		failed := g.failAt(n, errno)
		_, err := g.runner().Run(background, p)
		g.Fail(nil)
		g.running(*failed)
		switch {
		case n == 0:
			check(t, err)
			done = g.Snapshot()
		case err == nil:
			g.same(*failed+", and nobody is told", done)
		default:
			if _, stuck := errors.AsType[*run.UndoError](err); !stuck || !strings.Contains(*failed, "close") {
				g.same(fmt.Sprintf("%s: %v", *failed, err), before)
			}
		}
		if strings.Contains(g.warned.String(), "did not confirm") {
			t.Errorf("%s: waited for udev in vain: %s", *failed, g.warned)
		}
		if n > 0 && *failed == "" || t.Failed() {
			return
		}
	}
}
