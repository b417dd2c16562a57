package scenarios

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestStoreHoldsItsFilesystem: as long as a store lies in a file on its origin's filesystem, nobody unmounts that or makes
// another in its place, whoever made the set and after a lazy unmount too. What is written to the origin meanwhile stays
// what it is. When the set is gone, or its filesystem was let go, all is as ever.
func TestStoreHoldsItsFilesystem(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 2)
			v := lab.NewVolume(t, "held", fstype, disks[0], disks[1], 0, 320)
			tool := lab.NewTool(t)
			data := filepath.Join(v.Dir, "data")
			lab.Run(t, "sh", "-c", "head -c 8M /dev/urandom > "+data+" && sync -f "+v.Dir)
			was := fileSum(t, data)

			create := []string{"create", v.Device, "-n", "pinned", "--size", "32m", "--store", "file:" + v.Dir}
			tool.OK(create...)
			beneath(t, tool, v, fstype)
			if got := fileSum(t, data); got != was {
				t.Error("a file of the origin changed")
			}
			tool.OK("remove", "pinned")
			free(t, v)

			apart(t, tool, create)
			busy(t, "umount", v.Dir)
			if out := tool.OK("unpin"); !strings.Contains(out, "/.dmsnap/") {
				t.Errorf("unpin: %s", out)
			}
			free(t, v)
			tool.OK("recover")
			busy(t, "umount", v.Dir)
			tool.OK("remove", "pinned")
			checkFilesystem(t, fstype, v.Device, v.Dir)
			nothingLeft(t, v.Dir, "data", "lost+found")
		})
	}
}

// apart runs a command in a mount namespace of its own, which ends with it.
func apart(t *testing.T, tool *lab.Tool, args []string) {
	t.Helper()
	c := tool.Command(args...)
	c.Args = append([]string{"unshare", "-m", "--propagation", "private", c.Path}, c.Args[1:]...)
	c.Path = "/usr/bin/unshare"
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v, %s", c.Args, err, out)
	}
}

// beneath tries what would put other data where the store's file is.
func beneath(t *testing.T, tool *lab.Tool, v lab.Volume, fstype string) {
	t.Helper()
	mkfs := []string{"mkfs." + fstype, "-f", v.Device}
	if fstype == "ext4" {
		mkfs = []string{"mkfs.ext4", "-F", "-F", v.Device}
	}
	busy(t, "umount", v.Dir)
	busy(t, mkfs...)
	lab.Run(t, "umount", "-l", v.Dir)
	busy(t, mkfs...)
	if fstype == "ext4" {
		busy(t, "resize2fs", "-M", v.Device)
		busy(t, "e2fsck", "-fy", v.Device)
	}
	lab.Run(t, "mount", v.Device, v.Dir)
	if set := tool.Show("pinned"); set.State != "active" {
		t.Errorf("the set is %s: %s", set.State, set.Volumes[0].Reason)
	}
	if out := tool.OK("why", "pinned"); !strings.Contains(out, "neither unmounted") {
		t.Errorf("why says nothing of it: %s", out)
	}
	if out := lab.Run(t, "losetup", "-l"); !strings.Contains(out, "/.dmsnap/") {
		t.Errorf("losetup shows nothing: %s", out)
	}
}

func busy(t *testing.T, command ...string) {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err == nil {
		t.Fatalf("%v: it worked: %s", command, out)
	}
	t.Logf("%v: %s", command, strings.TrimSpace(string(out)))
}

// free expects the filesystem to be nobody's.
func free(t *testing.T, v lab.Volume) {
	t.Helper()
	lab.Run(t, "umount", v.Dir)
	lab.Run(t, "mount", v.Device, v.Dir)
}
