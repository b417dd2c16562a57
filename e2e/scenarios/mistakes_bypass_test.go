package scenarios

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestResizedByLVM has lvresize load a table of its own into an origin that has a set. The set says that it is bypassed
// and is not served as good; its removal leaves the new table alone, the writer notices nothing, and the origin can be cut
// again.
func TestResizedByLVM(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.Volume{Device: logicalVolume(t, disks[0]), Store: disks[1]}
	tool, w := resizable(t, &v)
	lab.Run(t, "lvresize", "-qq", "-L", "+32M", "vg/home")
	w.WaitFor(t, slots)
	bypassed(t, tool, v)
	resized := lab.Run(t, "dmsetup", "table", v.Device)
	tool.OK("remove", "one")
	if after := lab.Run(t, "dmsetup", "table", v.Device); after != resized {
		t.Errorf("table before the removal:\n%safter:\n%s", resized, after)
	}
	grown(t, tool, w, v)
}

// TestResizedByCryptsetup: it looks at the table of the mapping first, does not find its own, and refuses. Nothing is
// bypassed, and when the set is gone it works.
func TestResizedByCryptsetup(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.Volume{Device: luksVolume(t, disks[0], "--disable-keyring"), Store: disks[1]}
	lab.Run(t, "cryptsetup", "resize", "--device-size", "128M", "secret")
	tool, w := resizable(t, &v)
	before := lab.Run(t, "dmsetup", "table", "--showkeys")
	if out, err := exec.Command("cryptsetup", "resize", "--device-size", "160M", "secret").CombinedOutput(); err == nil {
		t.Errorf("cryptsetup resized a front: %s", out)
	}
	if after := lab.Run(t, "dmsetup", "table", "--showkeys"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
	if set := tool.Show("one"); set.State != "active" {
		t.Errorf("the set is %s", set.State)
	}
	tool.OK("remove", "one")
	lab.Run(t, "cryptsetup", "resize", "--device-size", "160M", "secret")
	grown(t, tool, w, v)
}

// resizable cuts a set of a mounted origin under a writer.
func resizable(t *testing.T, v *lab.Volume) (*lab.Tool, *lab.Writer) {
	t.Helper()
	lab.Format(t, "ext4", v.Device)
	v.Dir = lab.Mount(t, v.Device)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	w.WaitFor(t, 3)
	tool.Create("one", *v)
	return tool, w
}

// grown has the filesystem take the new room, cuts the origin again, and looks whether all is well.
func grown(t *testing.T, tool *lab.Tool, w *lab.Writer, v lab.Volume) {
	t.Helper()
	lab.Run(t, "resize2fs", v.Device)
	if size := strings.TrimSpace(lab.Run(t, "blockdev", "--getsize64", v.Device)); size != "167772160" {
		t.Errorf("the origin has %s bytes", size)
	}
	w.WaitFor(t, slots)
	cycle(t, tool, w, v, "two")
	w.Stop(t)
	lab.Run(t, "umount", v.Dir)
	lab.Run(t, "e2fsck", "-fn", v.Device)
	lab.Run(t, "mount", v.Device, v.Dir)
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
		{[]string{"mount", "one", t.TempDir()}, 6, "bypassed"},
		{[]string{"create", v.Device, "--store", v.Store, "--name", "two"}, 5, "bypassed"},
	} {
		if _, stderr, exit := tool.Try(row.args...); exit != row.exit || !strings.Contains(stderr, row.text) || !strings.Contains(stderr, "\nhint: ") {
			t.Errorf("%v: exit %d, want %d: %s", row.args, exit, row.exit, stderr)
		}
	}
}
