package dm

import (
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestLooksLoadNothing: what only looks asks the kernel nothing that loads a module
// or makes a device, and still tells what could be loaded.
func TestLooksLoadNothing(t *testing.T) {
	for _, installed := range []bool{true, false} {
		h := linearHost(t, ioctltest.Options{Interposer: installed})
		before, calls := h.Snapshot(), h.Calls()
		r, err := h.m.Doctor(h.ctx, "/home", "/data")
		check(t, err)
		for _, target := range r.Targets {
			if target.Version == "" && !target.Loadable {
				t.Errorf("%+v", target)
			}
		}
		if !r.Origins[0].Possible || r.Origins[1].Possible != installed {
			t.Errorf("with the interposer installed %v: %+v", installed, r.Origins)
		}
		for _, origin := range []string{"/home", "/data"} {
			_, err := h.m.Why(h.ctx, origin, 0)
			check(t, err)
		}
		_, err = h.m.List(h.ctx)
		check(t, err)
		_, err = h.m.PlanCreate(h.ctx, both())
		check(t, err)
		if installed {
			_, err = h.m.PlanCreate(h.ctx, CreateRequest{Origins: []string{"/data"}, Stores: map[string]string{"": "/dev/vdc"}})
			check(t, err)
		}
		for _, c := range h.Log()[calls:] {
			if slices.Contains([]string{"DM_GET_TARGET_VERSION", "DM_DEV_CREATE", "DM_TABLE_LOAD"}, c.Request) {
				t.Errorf("asked the kernel: %s", c)
			}
		}
		same(t, "after looking", before, h.Snapshot())
	}
}

// TestTargetNeitherLoadedNorInstalled is a problem, as it was when it was asked for.
func TestTargetNeitherLoadedNorInstalled(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	release, err := h.Border().Release()
	check(t, err)
	check(t, h.Border().Unlink("/lib/modules/"+release+"/modules.dep"))
	r, err := h.m.Doctor(h.ctx)
	check(t, err)
	if !slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.Contains(p.Message, "no snapshot target") }) {
		t.Errorf("%+v", r)
	}
}
