package ioctltest_test

import (
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func TestConformance(t *testing.T) {
	for _, release := range []string{"6.1.0-49-amd64", "6.12.95+deb12-amd64", "7.2.13-amd64"} {
		t.Run(release, func(t *testing.T) {
			k := ioctltest.New(ioctltest.Options{Release: release})
			for i, name := range []string{"ram0", "ram1", "ram2"} {
				k.AddDisk(name, ioctl.DevNo{Major: 1, Minor: uint32(i)}, 64<<20)
			}
			fs := ioctl.DevNo{Major: 1, Minor: 2}
			k.Mount(fs, "/mnt", "ext4")
			if err := k.Border().Unmount("/mnt", 0); err != nil {
				t.Fatal(err)
			}
			before := k.Snapshot()
			ioctltest.Conformance(t, k.Border(), ioctltest.Env{A: "/dev/ram0", B: "/dev/ram1", Mountable: "/dev/ram2", Dir: "/mnt"})
			if hangs := k.Hangs(); len(hangs) != 0 {
				t.Errorf("hangs: %q", hangs)
			}
			if after := k.Snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
