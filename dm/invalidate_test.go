package dm

import (
	"errors"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestInvalidate gives a set up whose store is of each kind: writers come through, the
// set says that it is lost, without its record too, and goes without a trace but for
// what is on the store's device.
func TestInvalidate(t *testing.T) {
	hostOnly(t)
	for _, spec := range []string{"file:/home/.cow", "file:/srv/.cow", "ram", "/dev/vdc"} {
		h := newHost(t, ioctltest.Options{Udev: true})
		h.elsewhere(t)
		before := h.Snapshot()
		check(t, h.createIn(spec))
		lost := h.m.opts
		lost.StateDir = "/nowhere" // it needs none
		check(t, New(lost).Invalidate(h.ctx, "nightly"))
		check(t, h.Write(h.home, 4*mib, make([]byte, 256<<10)))
		set, err := h.m.Show(h.ctx, "nightly")
		check(t, err)
		if v := set.Volumes[0]; v.State != StateInvalid || !strings.Contains(v.Reason, "given up") {
			t.Errorf("%s: %s because %q", spec, v.State, v.Reason)
		}
		check(t, h.m.Invalidate(h.ctx, "nightly"))
		check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
		same(t, spec, withoutData(before), withoutData(h.Snapshot()))
		h.healthy(t)
	}
	h := newHost(t, ioctltest.Options{})
	if err := h.m.Invalidate(h.ctx, "nightly"); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no set: %v", err)
	}
}
