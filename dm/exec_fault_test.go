package dm

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/nsexec"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestExecFails has each system call of an exec fail in turn. Whatever it reports,
// nothing is left but a set that it says was kept, which can be removed; and
// nobody takes what went wrong for a good backup. It is not among the operations
// that change nothing when they fail: its command has run by then.
func TestExecFails(t *testing.T) {
	hostOnly(t)
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		for n := 1; ; n += step() {
			h := newHost(t, o)
			before := withoutStores(h.Snapshot())
			ran := false
			onStage(h, func(*stage) nsexec.Exit { ran = true; return nsexec.Exit{} })
			failed := h.failNth(n, unix.EIO)
			x, err := h.m.Exec(t.Context(), execHome("backup"))
			h.Fail(nil)
			what := fmt.Sprintf("call %d, %s: %v", n, failed, err)
			if x.Ran != ran || x.Good && err != nil || err == nil && !x.Good {
				t.Errorf("%s: ran %v, %+v", what, ran, x)
			}
			h.healthy(t)
			cleanAfter(t, h, what)
			same(t, what, before, withoutStores(h.Snapshot()))
			if failed.past {
				check(t, err)
				return
			}
			if t.Failed() {
				return
			}
		}
	})
}

// cleanAfter does what a user does after a failure.
func cleanAfter(t *testing.T, h *host, what string) {
	t.Helper()
	_, err := h.m.Recover(context.Background())
	if err != nil {
		t.Errorf("%s: recover: %v", what, err)
	}
	if err := h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}); err != nil && !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: remove: %v", what, err)
	}
}
