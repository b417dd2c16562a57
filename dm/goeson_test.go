package dm

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestRemoveGoesOn fails every system call of a removal in turn: afterwards the
// set is whole, or the same call again finishes.
func TestRemoveGoesOn(t *testing.T) {
	hostOnly(t)
	kernels(t, func(t *testing.T, o ioctltest.Options) { removeGoesOn(t, func() *host { return newHost(t, o) }) })
	t.Run("from copies", func(t *testing.T) {
		t.Parallel()
		removeGoesOn(t, func() *host { return newCopiesHost(t, ioctltest.Options{Udev: true}) })
	})
}

func removeGoesOn(t *testing.T, fresh func() *host) {
	t.Helper()
	for n := 1; ; n += step() {
		h := fresh()
		clean := h.Snapshot()
		h.create(t, both())
		before := h.Snapshot()
		failed := h.failNth(n, unix.EIO)
		err := h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"})
		h.Fail(nil)
		if failed.past {
			check(t, err)
			return
		}
		h.healthy(t)
		what := fmt.Sprintf("EIO at call %d, %s: %v", n, failed, err)
		switch {
		case err == nil: // at most an entry of the journal is left for the next command
			recoverTo(t, h, what, clean)
		case errors.Is(err, ErrPartial), errors.Is(err, ErrUnrecovered):
			finishRemoval(t, h, what)
			same(t, what+", then again", withoutLocks(clean), withoutLocks(h.Snapshot()))
		default:
			sameOrGone(t, what, before, clean, h)
		}
		if t.Failed() {
			return
		}
	}
}

// finishRemoval repeats the command, as the hint says.
func finishRemoval(t *testing.T, h *host, what string) {
	t.Helper()
	if err := h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}); err != nil {
		t.Errorf("%s: again: %v", what, err)
	}
}

// sameOrGone: an error after the last device is gone (of the journal, say) may
// leave the record; the same call again removes it.
func sameOrGone(t *testing.T, what, before, clean string, h *host) {
	t.Helper()
	if withoutLocks(h.Snapshot()) == withoutLocks(before) {
		return
	}
	finishRemoval(t, h, what)
	same(t, what+", then again", withoutLocks(clean), withoutLocks(h.Snapshot()))
}

// TestUnmountGoesOn fails every system call of an unmount in turn: afterwards
// nothing has changed, or it says that a part was done and the same call again
// finishes.
func TestUnmountGoesOn(t *testing.T) {
	hostOnly(t)
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		for n := 1; unmountOnce(t, o, n) && !t.Failed(); n += step() {
		}
	})
}

func unmountOnce(t *testing.T, o ioctltest.Options, n int) (more bool) {
	t.Helper()
	h := newHost(t, o)
	h.create(t, both())
	clean := withoutLocks(h.Snapshot())
	_, err := h.m.Mount(h.ctx, "nightly", "/mnt/n")
	check(t, err)
	before := withoutLocks(h.Snapshot())
	failed := h.failNth(n, unix.EIO)
	err = h.m.Unmount(h.ctx, "nightly")
	h.Fail(nil)
	h.healthy(t)
	what := fmt.Sprintf("EIO at call %d, %s: %v", n, failed, err)
	switch {
	case failed.past || err == nil:
		check(t, err)
	case errors.Is(err, ErrPartial):
		// Again; if the last image had gone already, there is nothing to unmount.
		if err := h.m.Unmount(h.ctx, "nightly"); err != nil && !errors.Is(err, ErrUsage) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: again: %v", what, err)
		}
	default:
		same(t, what, before, withoutLocks(h.Snapshot()))
		return true
	}
	same(t, what, clean, withoutLocks(h.Snapshot()))
	return !failed.past
}
