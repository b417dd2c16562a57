package dm

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestThawLeavesOthersAlone: what somebody else suspended or froze stays so,
// unless all is asked for.
func TestThawLeavesOthersAlone(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.create(t, both())
	h.Freeze("/var", true)
	h.Suspend("home", true)
	before := h.Snapshot()
	done, err := h.m.Thaw(context.Background(), false)
	check(t, err)
	if len(done.Resumed)+len(done.Thawed) > 0 || len(done.Left) != 1 || done.Left[0].Device != "home" {
		t.Errorf("%+v", done)
	}
	same(t, "after a thaw", before, h.Snapshot())
	done, err = h.m.Thaw(context.Background(), true)
	check(t, err)
	if !slices.Equal(done.Resumed, []string{"home"}) || !slices.Equal(done.Thawed, []string{"/var"}) {
		t.Errorf("with all: %+v", done)
	}
	letGo(t, h, "thawed all")
	h.healthy(t)
}

// TestThawUnderWay: an operation whose locks are held is left alone, and named;
// all ends it.
func TestThawUnderWay(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	stuck, done := false, make(chan struct{})
	h.Fail(func(c ioctltest.Call) error {
		switch {
		case c.Request == "DM_DEV_RESUME" && c.Name == "dmsnap-nightly-var":
			<-done // it is made at the same time
			return nil
		case c.Request != "DM_DEV_RESUME" || c.Name != "dmsnap-nightly-home" || stuck:
			return nil
		}
		defer close(done)
		stuck = true
		held := h.Snapshot()
		left, err := New(h.m.opts).Thaw(context.Background(), false)
		if !errors.Is(err, ErrLocked) || len(left.Left) != 2 {
			t.Errorf("%+v, %v", left, err)
		}
		same(t, "under way", withoutLocks(held), withoutLocks(h.Snapshot()))
		left, err = New(h.m.opts).Thaw(context.Background(), true)
		check(t, err)
		if len(left.Resumed) != 2 || len(left.Thawed) != 2 {
			t.Errorf("with all: %+v", left)
		}
		return nil
	})
	_, err := h.m.Create(context.Background(), both())
	if !errors.Is(err, ErrFreeze) {
		t.Errorf("the operation that lost its window: %v", err)
	}
	letGo(t, h, "after all")
	h.healthy(t)
}
