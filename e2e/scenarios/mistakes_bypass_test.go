package scenarios

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestResizedBehindOurBack has lvm2 and cryptsetup resize an origin that has a set, which loads a table of their own into
// the front. The set says that it is bypassed and is not served as good; its removal leaves the new table alone, the
// writer notices nothing, and the origin can be cut again.
func TestResizedBehindOurBack(t *testing.T) {
	for name, row := range map[string]struct {
		origin func(t *testing.T, disk string) string
		resize []string
	}{
		"lvresize": {
			func(t *testing.T, disk string) string { return logicalVolume(t, disk) },
			[]string{"lvresize", "-qq", "-L", "+32M", "vg/home"},
		},
		"cryptsetup resize": {
			func(t *testing.T, disk string) string {
				luks := luksVolume(t, disk, "--disable-keyring")
				lab.Run(t, "cryptsetup", "resize", "--device-size", "128M", "secret")
				return luks
			},
			[]string{"cryptsetup", "resize", "--device-size", "160M", "secret"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 2)
			v := lab.Volume{Device: row.origin(t, disks[0]), Store: disks[1]}
			lab.Format(t, "ext4", v.Device)
			v.Dir = lab.Mount(t, v.Device)
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			w.WaitFor(t, 3)
			tool.Create("one", v)
			before := lab.Run(t, "blockdev", "--getsize64", v.Device)
			lab.Run(t, row.resize[0], row.resize[1:]...)
			if after := lab.Run(t, "blockdev", "--getsize64", v.Device); after == before {
				t.Fatalf("still %s bytes", after)
			}
			w.WaitFor(t, slots)
			bypassed(t, tool, v)
			resized := lab.Run(t, "dmsetup", "table", v.Device)
			tool.OK("remove", "one")
			if after := lab.Run(t, "dmsetup", "table", v.Device); after != resized {
				t.Errorf("table before the removal:\n%safter:\n%s", resized, after)
			}
			lab.Run(t, "resize2fs", v.Device)
			w.WaitFor(t, slots)
			cycle(t, tool, w, v, "two")
			w.Stop(t)
			lab.Run(t, "umount", v.Dir)
			lab.Run(t, "e2fsck", "-fn", v.Device)
			lab.Run(t, "mount", v.Device, v.Dir)
		})
	}
}

// bypassed expects a set that is honest about it.
func bypassed(t *testing.T, tool *lab.Tool, v lab.Volume) {
	t.Helper()
	set := tool.Show("one")
	if set.State != "bypassed" || !strings.Contains(set.Volumes[0].Reason, "reloaded the origin's table") {
		t.Errorf("the set is %q because %q", set.State, set.Volumes[0].Reason)
	}
	if out := tool.OK("list"); !strings.Contains(out, "bypassed") {
		t.Errorf("list: %s", out)
	}
	for _, row := range []struct {
		args []string
		exit int
		text string
	}{
		{[]string{"mount", "one", t.TempDir()}, 1, "is bypassed"},
		{[]string{"create", v.Device, "--store", v.Store, "--name", "two"}, 5, "is bypassed"},
	} {
		if _, stderr, exit := tool.Try(row.args...); exit != row.exit || !strings.Contains(stderr, row.text) || !strings.Contains(stderr, "\nhint: ") {
			t.Errorf("%v: exit %d, want %d: %s", row.args, exit, row.exit, stderr)
		}
	}
}
