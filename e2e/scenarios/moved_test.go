package scenarios

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestMovedByLVM: pvmove moves an origin whose store is a file on it, and another volume takes the extents that this
// freed. The set says that it is bypassed; its removal changes no byte of the other volume, and leaves the origin and its
// writer alone.
func TestMovedByLVM(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	lab.Group(t, "vg", disks...)
	lab.Run(t, "lvcreate", "-qq", "-y", "-n", "home", "-L", "96M", "vg", disks[0])
	v := lab.Volume{Device: "/dev/mapper/vg-home"}
	lab.Format(t, "ext4", v.Device)
	v.Dir = lab.Mount(t, v.Device)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	w.WaitFor(t, 3)
	tool.CreateOnly("one", v.Device, "--store", "file:"+v.Dir, "--size", "16M")
	lab.Run(t, "pvmove", "-qq", "-i", "1", disks[0], disks[1])
	lab.Run(t, "lvcreate", "-qq", "-y", "-n", "other", "-l", "100%PVS", "vg", disks[0])
	fill := "tr '\\0' '\\252' </dev/zero | dd of=/dev/mapper/vg-other bs=1M oflag=direct iflag=fullblock 2>/dev/null; true"
	lab.Run(t, "sh", "-c", fill)
	before := direct(t, "/dev/mapper/vg-other")
	w.WaitFor(t, slots)
	bypassed(t, tool, lab.Volume{Device: v.Device, Store: disks[1]})
	tool.OK("remove", "one")
	if after := direct(t, "/dev/mapper/vg-other"); after != before {
		t.Errorf("the other volume was %s, and is %s", before, after)
	}
	if left, _ := filepath.Glob(filepath.Join(v.Dir, ".dmsnap*", "*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	w.WaitFor(t, slots)
	w.Stop(t)
	lab.Run(t, "umount", v.Dir)
	lab.Run(t, "e2fsck", "-fn", v.Device)
	lab.Run(t, "mount", v.Device, v.Dir)
	lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
}

// direct is a checksum of what is on the medium.
func direct(t *testing.T, device string) string {
	t.Helper()
	return strings.Fields(lab.Run(t, "sh", "-c", "dd if="+device+" bs=1M iflag=direct 2>/dev/null | sha256sum"))[0]
}

// TestResizedMeanwhile runs lvresize and dmsnap on one volume at the same time. Whoever comes first, the kernel has the
// size that lvm2 has given the volume in the end.
func TestResizedMeanwhile(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	lab.Group(t, "vg", disks[0])
	device := lab.LogicalVolume(t, "vg", "home", "-L", "64M")
	lab.Format(t, "ext4", device)
	dir := lab.Mount(t, device)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
	var busy int
	for i := range lab.Rounds(t, 8, 40) {
		args := []string{"create", device, "--store", disks[1], "--name", "one", "--size", "32M"}
		if i%2 == 1 {
			tool.OK(args...)
			args = []string{"remove", "one"}
		}
		resize := exec.Command("lvresize", "-qq", "-L", "+4M", "vg/home")
		done := make(chan error, 1)
		go func() {
			time.Sleep(time.Duration(i*37%160) * time.Millisecond)
			out, err := resize.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("lvresize: %w: %s", err, out)
			}
			done <- err
		}()
		_, stderr, code := tool.Try(args...)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if code != 0 {
			busy++
		}
		if code != 0 && code != 5 && code != 8 && code != 10 {
			t.Errorf("%s: exit %d: %s", args[0], code, stderr)
		}
		t.Logf("%s: exit %d %s", args[0], code, stderr)
		tool.Try("remove", "one")
		has := strings.TrimSpace(lab.Run(t, "blockdev", "--getsize64", device))
		if want := strings.TrimSpace(lab.Run(t, "lvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "lv_size", "vg/home")); has != want {
			t.Fatalf("round %d, %s: the kernel has %s bytes, lvm2 %s", i, args[0], has, want)
		}
		if table := lab.Run(t, "dmsetup", "table", device); strings.Contains(table, "snapshot") {
			t.Fatalf("round %d: %s", i, table)
		}
	}
	t.Logf("%d were refused", busy)
	lab.Run(t, "resize2fs", device)
	w.Stop(t)
	lab.Run(t, "umount", dir)
	lab.Run(t, "e2fsck", "-fn", device)
	lab.Run(t, "mount", device, dir)
}
