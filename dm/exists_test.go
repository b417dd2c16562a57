package dm

import (
	"errors"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestNameComesBeforeStores: the same create again, yesterday's set still there, is
// told that the name is taken, and not that its store serves a set.
func TestNameComesBeforeStores(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	before := withoutLocks(h.Snapshot())
	_, errCreate := h.m.Create(h.ctx, both())
	_, errPrepare := h.m.Prepare(h.ctx, both())
	_, errPlan := h.m.PlanCreate(h.ctx, both())
	for _, err := range []error{errCreate, errPrepare, errPlan} {
		if !errors.Is(err, ErrExists) || CodeOf(err) != CodeExists {
			t.Errorf("%v, code %s", err, CodeOf(err))
		}
	}
	same(t, "a second create", before, withoutLocks(h.Snapshot()))
}
