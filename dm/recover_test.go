package dm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestForeignFreezeStays: a create that died before its window froze nothing, so
// what is frozen above its origin when it is taken back is somebody else's.
func TestForeignFreezeStays(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	before := dmLines(h.Snapshot())
	at, err := h.dieAt(func(c ioctltest.Call) bool {
		return c.Request == "DM_TABLE_LOAD" && strings.HasPrefix(c.Name, "dmsnap-nightly-")
	}, operations["create"].do)
	if at == nil {
		t.Fatalf("it lived: %v", err)
	}
	h.Exit()
	h.Freeze("/home", true)
	recovered(t, h)
	if !strings.Contains(h.Snapshot(), "frozen=1") {
		t.Error("somebody's freeze was ended")
	}
	h.Freeze("/home", false)
	if after := dmLines(h.Snapshot()); after != before {
		t.Errorf("recover did not lead back:\n%s", diff(strings.Split(before, "\n"), strings.Split(after, "\n")))
	}
	h.healthy(t)
}

// TestSemaphoreIsKnown: whoever dies right before or after it made the semaphore of
// its udev cookie has noted the key already.
func TestSemaphoreIsKnown(t *testing.T) {
	hostOnly(t)
	for _, op := range []string{"create", "remove"} {
		for later := range 2 {
			h := newHost(t, ioctltest.Options{Udev: true})
			if op == "remove" {
				h.create(t, both())
			}
			before := withoutLocks(h.Snapshot())
			made := 0
			at, err := h.dieAt(func(c ioctltest.Call) bool {
				if made > 0 || c.Op == "semsetval" {
					made++
				}
				return made > later
			}, killable()[op].do)
			if at == nil {
				t.Fatalf("it lived: %v", err)
			}
			h.Exit()
			if withoutLocks(h.Snapshot()) == before {
				t.Error("it died before there was an intent")
			}
			recovered(t, h)
			if strings.Contains(h.Snapshot(), "sem ") {
				t.Errorf("%s, killed before %s: a semaphore is left", op, at)
			}
		}
	}
}

// TestSemaphoreOfTheWayBackIsKnown: so is the key of the one that a create makes which
// fails after it has waited for udev, and takes itself back.
func TestSemaphoreOfTheWayBackIsKnown(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.m.fail = func(s plan.Step) error {
		if s.Phase == plan.Finish && s.Action == plan.Verify {
			return unix.EIO
		}
		return nil
	}
	made, dead := 0, false
	at, err := h.dieAt(func(c ioctltest.Call) bool {
		dead = made == 2 // the call after it
		if c.Op == "semsetval" {
			made++
		}
		return dead
	}, func(h *host) error { _, err := h.m.Create(context.Background(), both()); return err })
	if at == nil {
		t.Fatalf("it lived: %v", err)
	}
	h.Exit()
	h.m.fail = nil
	recovered(t, h)
	if strings.Contains(h.Snapshot(), "sem ") {
		t.Errorf("killed before %s: a semaphore is left", at)
	}
}

// TestNothingHeldNothingOpen: a create that could not take itself back, but froze
// nothing, keeps no filesystem busy in a process that lives on.
func TestNothingHeldNothingOpen(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_TABLE_LOAD" && c.Name == "home" || c.Request == "DM_DEV_REMOVE" {
			return unix.EIO
		}
		return nil
	})
	_, err := h.m.Create(context.Background(), both())
	h.Fail(nil)
	if !errors.Is(err, ErrUnrecovered) {
		t.Fatalf("got %v", err)
	}
	recovered(t, h)
	check(t, h.Border().Unmount("/home", 0))
	check(t, h.Border().Unmount("/var", 0))
}

// TestLeftFrozen: a window that could not be let go is what recover ends first,
// and it knows that the freeze it finds is ours.
func TestLeftFrozen(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	before := dmLines(h.Snapshot())
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "FITHAW" {
			return unix.EIO
		}
		return nil
	})
	_, err := h.m.Create(context.Background(), both())
	if CodeOf(err) != CodeUnrecovered {
		t.Errorf("code %s: %v", CodeOf(err), err)
	}
	h.Fail(nil)
	h.Exit()
	recovered(t, h)
	letGo(t, h, "recovered")
	if after := dmLines(h.Snapshot()); after != before {
		t.Errorf("recover did not lead back:\n%s", diff(strings.Split(before, "\n"), strings.Split(after, "\n")))
	}
	h.healthy(t)
}

// TestStateFull: there is room for the intent of a create, and none any more for
// its record. It takes itself back without writing anything.
func TestStateFull(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	before := withoutLocks(h.Snapshot())
	full := false
	h.Fail(func(c ioctltest.Call) error {
		full = full || strings.HasPrefix(c.Path, "/state/sets/.nightly") // the record
		if full && strings.HasPrefix(c.Path, "/state/") && (c.Op == "write" || c.Op == "pwrite") {
			return unix.ENOSPC
		}
		return nil
	})
	_, err := h.m.Create(context.Background(), both())
	h.Fail(nil)
	if CodeOf(err) != CodeNoSpace || !full {
		t.Errorf("code %s: %v", CodeOf(err), err)
	}
	h.Exit()
	same(t, "after a create without room", before, withoutLocks(h.Snapshot()))
	h.healthy(t)
}
