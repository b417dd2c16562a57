package ioctl_test

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// TestKernelFreeSpace: a file's blocks are free before it has them and not after, seen through a second mount too, which
// is nowhere; and a hole in the middle moves none of the others.
func TestKernelFreeSpace(t *testing.T) {
	k, _ := guest(t)
	dir := mounted(t, k)
	root, err := k.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer root.Close()
	before, err := root.FreeSpace()
	must(t, err)
	f, err := k.Open(dir+"/file", unix.O_RDWR|unix.O_CREAT, 0o600)
	must(t, err)
	defer f.Close()
	must(t, f.Allocate(0, 1<<20))
	must(t, f.SyncFS())
	mount, err := k.MountPrivate("ext4", "/dev/ram0")
	must(t, err)
	again, err := k.Open(mount.Path(), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	after, err := again.FreeSpace()
	must(t, err)
	must(t, again.Close())
	must(t, mount.Close())
	extents, err := f.Extents(ioctl.FiemapSync)
	must(t, err)
	for _, e := range extents {
		if !within(before, e) || within(after, e) {
			t.Errorf("%+v: free before: %v, after: %v", e, within(before, e), within(after, e))
		}
	}
	must(t, f.Punch(512<<10, 64<<10))
	was := extents
	extents, err = f.Extents(ioctl.FiemapSync)
	must(t, err)
	if st, err := f.Stat(); err != nil || st.Size != 1<<20 {
		t.Errorf("size %d, %v", st.Size, err)
	}
	for _, at := range []uint64{0, 512<<10 - 4096, 576 << 10, 1<<20 - 4096} {
		if lies(extents, at) != lies(was, at) {
			t.Errorf("byte %d lies at %d, not at %d", at, lies(extents, at), lies(was, at))
		}
	}
	if at := lies(extents, 512<<10); at != 0 {
		t.Errorf("what was taken out lies at %d", at)
	}
	proc, err := k.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer proc.Close()
	_, err = proc.FreeSpace()
	mustFail(t, err, unix.ENOTTY)
}

func within(free []ioctl.Range, e ioctl.Extent) bool {
	return slices.ContainsFunc(free, func(r ioctl.Range) bool {
		return r.Start <= e.Physical && e.Physical+e.Length <= r.Start+r.Length
	})
}

// lies is where a byte of a file is on the device.
func lies(extents []ioctl.Extent, at uint64) uint64 {
	for _, e := range extents {
		if at >= e.Logical && at < e.Logical+e.Length {
			return e.Physical + at - e.Logical
		}
	}
	return 0
}
