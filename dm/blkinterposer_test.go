package dm

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestBlkInterposerProbe tells a kernel with the published interposer from those
// that only echo its flag.
func TestBlkInterposerProbe(t *testing.T) {
	for _, release := range []string{"6.1.0", "6.12.0", "7.2.0"} {
		for _, has := range []bool{false, true} {
			h := newHost(t, ioctltest.Options{Release: release, BlkInterposer: has})
			before := h.Snapshot()
			if got := blkInterposer(t, h.m); got != has {
				t.Errorf("%s with the interposer %v: the probe says %v", release, has, got)
			}
			same(t, "after the probe", before, h.Snapshot())
		}
	}
}

// TestBlkInterposerProbeHere: no kernel there is has it.
func TestBlkInterposerProbeHere(t *testing.T) {
	lab.Need(t)
	if blkInterposer(t, New(Options{StateDir: t.TempDir()})) {
		t.Error("the probe says that this kernel has the interposer")
	}
}

// TestDoctorOnBlkInterposer says why the kernel's own means do not do.
func TestDoctorOnBlkInterposer(t *testing.T) {
	for _, has := range []bool{false, true} {
		k := ioctltest.New(ioctltest.Options{BlkInterposer: has})
		k.AddDisk("vda", ioctl.DevNo{Major: 252}, 16*mib, ioctltest.Partition(1, mib, 8*mib))
		k.Mount(ioctl.DevNo{Major: 252, Minor: 1}, "/data", "ext4")
		r, err := New(Options{Kernel: k.Border(), StateDir: "/state"}).Doctor(context.Background(), "/data")
		check(t, err)
		said := slices.ContainsFunc(r.Origins[0].Problems, func(p Problem) bool { return strings.Contains(p.Message, "only one may") })
		if said != has || r.Origins[0].Possible {
			t.Errorf("with the interposer %v: %+v", has, r.Origins[0])
		}
	}
}

func blkInterposer(t *testing.T, m *Manager) bool {
	t.Helper()
	s, err := m.open("doctor", "")
	check(t, err)
	defer s.close()
	has, err := s.blkInterposer()
	check(t, err)
	return has
}
