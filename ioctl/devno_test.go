package ioctl

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestRdev: the number in a struct stat is that of golang.org/x/sys, and so the C
// library's.
func TestRdev(t *testing.T) {
	for _, major := range []uint32{0, 8, 0xfff, 0x1000, 0xffffffff} {
		for _, minor := range []uint32{0, 17, 0xff, 0x100, 0xfffff, 0xffffffff} {
			d := DevNo{Major: major, Minor: minor}
			if d.Rdev() != unix.Mkdev(major, minor) || DevNoOf(d.Rdev()) != d {
				t.Errorf("%v: %#x, want %#x; back %v", d, d.Rdev(), unix.Mkdev(major, minor), DevNoOf(d.Rdev()))
			}
		}
	}
}
