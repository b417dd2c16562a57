package freeze

import (
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		fstype           string
		readOnly, direct bool
		want             Method
	}{
		{"ext4", false, false, Freeze},
		{"ext4", true, true, Freeze},
		{"xfs", false, true, Freeze},
		{"btrfs", false, false, Freeze},
		{"never-heard-of", false, true, Freeze},
		{"vfat", false, true, LockFS},
		{"vfat", false, false, None},
		{"exfat", true, false, None},
		{"squashfs", true, true, LockFS},
		{"fuseblk", false, true, None},
		{"fuse.sshfs", false, false, None},
	} {
		got, reason := choose(c.fstype, c.readOnly, c.direct)
		if got != c.want || (reason == "") != (got != None) {
			t.Errorf("%+v: got %v, %q", c, got, reason)
		}
	}
}

func TestOrder(t *testing.T) {
	at := func(minor uint32, path string) Filesystem {
		return Filesystem{DevNo: ioctl.DevNo{Major: 8, Minor: minor}, Mounts: []Mount{{Path: path}}}
	}
	for _, c := range []struct {
		name  string
		fs    []Filesystem
		backs map[uint32]uint32 // loop filesystem: the one that holds its file
		want  string            // with * for those that wait
	}{
		{"deeper first, root last", []Filesystem{at(1, "/"), at(2, "/srv"), at(3, "/srv/a")}, nil, "3 2 1"},
		{"same depth by path", []Filesystem{at(1, "/b"), at(2, "/a"), at(3, "/c")}, nil, "2 1 3"},
		{"same path by number", []Filesystem{at(2, "/a"), at(1, "/a")}, nil, "1 2"},
		{"loop before its file's", []Filesystem{at(1, "/"), at(2, "/srv/deep"), at(3, "/mnt")}, map[uint32]uint32{3: 2}, "3 2* 1"},
		{"loop on loop", []Filesystem{at(1, "/a/b/c"), at(2, "/a/b"), at(3, "/a")}, map[uint32]uint32{3: 2, 2: 1}, "3 2* 1*"},
		{"the rest stays", []Filesystem{at(1, "/a"), at(2, "/a/b"), at(3, "/c")}, map[uint32]uint32{3: 2}, "3 2* 1"},
		{"loop on itself", []Filesystem{at(1, "/a"), at(2, "/b")}, map[uint32]uint32{1: 1}, "1* 2"},
		{"a ring ends", []Filesystem{at(1, "/a"), at(2, "/b")}, map[uint32]uint32{1: 2, 2: 1}, "2* 1*"},
	} {
		backs := map[ioctl.DevNo][]ioctl.DevNo{}
		for a, b := range c.backs {
			backs[ioctl.DevNo{Major: 8, Minor: a}] = []ioctl.DevNo{{Major: 8, Minor: b}}
		}
		var got []string
		for _, f := range order(c.fs, backs) {
			number := strings.TrimPrefix(f.DevNo.String(), "8:")
			if f.Waits {
				number += "*"
			}
			got = append(got, number)
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: got %s, want %s", c.name, g, c.want)
		}
	}
}

func TestBetter(t *testing.T) {
	own := Mount{Path: "/very/long/path", Root: "/"}
	for name, worse := range map[string]Mount{
		"foreign":   {PID: 7, Path: "/", Root: "/"},
		"part only": {Path: "/a", Root: "/sub"},
		"longer":    {Path: "/very/long/path/indeed", Root: "/"},
		"by name":   {Path: "/very/long/patz", Root: "/"},
	} {
		if better(own, worse) >= 0 || better(worse, own) <= 0 {
			t.Errorf("%s is preferred", name)
		}
	}
}
