package scenarios

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestInterposedPartition cuts a mounted partition again and again while a writer runs: each set brings the layer and
// takes it away.
func TestInterposedPartition(t *testing.T) {
	plainCycles(t, 2, func(t *testing.T, v lab.Volume) (*lab.Tool, string) { return lab.NewTool(t), v.Dir })
}

// TestInterposedRoot is a machine with one disk and one partition: the root of every process is on it, dmsnap, its state
// and the store too. Nothing is prepared but the module.
func TestInterposedRoot(t *testing.T) {
	plainCycles(t, 1, func(t *testing.T, v lab.Volume) (*lab.Tool, string) { return lab.EnterRoot(t, v.Dir), "/" })
}

// plainCycles has a tool cut a partition where it is mounted.
func plainCycles(t *testing.T, few int, enter func(*testing.T, lab.Volume) (*lab.Tool, string)) {
	t.Helper()
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			lab.LoadModule(t)
			v := partition(t, fstype, 192)
			t.Cleanup(func() { checkFilesystem(t, fstype, v.Device, v.Dir) })
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			tool, dir := enter(t, v)
			for i := range lab.Rounds(t, few, 100) {
				plainCycle(t, tool, w, dir, fstype, fmt.Sprintf("p%d", i))
			}
			w.Stop(t)
		})
	}
}

// plainCycle is a set of a mounted partition, its store in a file on it, from cut to removal.
func plainCycle(t *testing.T, tool *lab.Tool, w *lab.Writer, dir, fstype, name string) {
	t.Helper()
	w.WaitFor(t, 3)
	set := tool.CreateOnly(name, dir, "--store", "file:"+filepath.Join(dir, "cow"), "--size", "48m")
	cutFrozen(t, w, name, set)
	image := set.Volumes[0].Device
	before := blockSums(t, image)
	w.WaitFor(t, slots/4)
	unchanged(t, image, before, storeBlocks(t, "dmsnap-store-"+name+"-vda1", "dmsnap-base-vda1"))
	if fstype == "ext4" { // an image of xfs has a log to be replayed
		lab.Run(t, "e2fsck", "-fn", image)
	}
	mnt := t.TempDir()
	tool.OK("mount", name, mnt)
	got := lab.Check(t, filepath.Join(mnt, "ring"), slots)
	w.Expect(t, name, set.Receipt, got)
	tool.OK("umount", name)
	tool.OK("remove", name)
	if left := lab.Run(t, "dmsetup", "ls"); strings.Contains(left, "dmsnap") {
		t.Fatalf("left over: %s", left)
	}
}

// partition is a mounted partition with a store on another disk.
func partition(t *testing.T, fstype string, sizeMiB int) lab.Volume {
	t.Helper()
	disks := lab.Disks(t, 2)
	v := lab.Volume{Device: lab.Partition(t, disks[0], 1, 1, sizeMiB)}
	v.Name = filepath.Base(v.Device)
	v.Store = lab.Store(t, "store", disks[1], 0, sizeMiB+16)
	lab.Format(t, fstype, v.Device)
	v.Dir = lab.Mount(t, v.Device)
	return v
}

// TestAttachedPartition attaches by itself: the layer outlives sets, nobody can remove it, and a filesystem goes on on it.
func TestAttachedPartition(t *testing.T) {
	lab.LoadModule(t)
	v := partition(t, "ext4", 128)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	tool.OK("attach", v.Dir)
	for i := range lab.Rounds(t, 2, 20) {
		cycle(t, tool, w, v, fmt.Sprintf("a%d", i))
	}
	for _, name := range []string{"front", "base"} {
		if exec.Command("dmsetup", "remove", "dmsnap-"+name+"-"+v.Name).Run() == nil {
			t.Errorf("the %s could be removed", name)
		}
	}
	tool.OK("recover")
	if out := tool.OK("doctor", v.Device); !strings.Contains(out, "module") {
		t.Errorf("doctor: %s", out)
	}
	if _, stderr, code := tool.Try("attach", "/dev/mapper/dmsnap-front-"+v.Name); code != 2 {
		t.Errorf("attach a front: exit %d: %s", code, stderr)
	}
	lab.Run(t, "fstrim", v.Dir)
	tool.OK("create", v.Device, "--store", v.Store, "--name", "held")
	if _, stderr, code := tool.Try("detach", v.Device); code != 5 {
		t.Errorf("detach below a set: exit %d: %s", code, stderr)
	}
	tool.OK("remove", "held")
	tool.OK("detach", v.Device)
	w.WaitFor(t, 3)
	w.Stop(t)
	checkFilesystem(t, "ext4", v.Device, v.Dir)
}

// TestAdoptedPartition needs no module: what nobody uses is put beneath a device, which is mounted instead, and after that the
// partition is what it was.
func TestAdoptedPartition(t *testing.T) {
	lab.Need(t)
	disks := lab.Disks(t, 3)
	v := lab.Volume{Name: "adopted", Device: lab.Partition(t, disks[0], 1, 1, 64), Store: lab.Store(t, "store", disks[1], 0, 80)}
	lab.Format(t, "ext4", v.Device)
	tool := lab.NewTool(t)
	mnt := t.TempDir()
	lab.Run(t, "mount", v.Device, mnt)
	if _, stderr, code := tool.Try("attach", v.Device); code != 7 || !strings.Contains(stderr, "unmount it") {
		t.Errorf("attach what is mounted: exit %d: %s", code, stderr)
	}
	lab.Run(t, "umount", mnt)
	lab.Run(t, "mkswap", disks[2])
	lab.Run(t, "swapon", disks[2])
	if _, stderr, code := tool.Try("attach", disks[2]); code != 5 {
		t.Errorf("attach swap: exit %d: %s", code, stderr)
	}
	lab.Run(t, "swapoff", disks[2])
	tool.OK("attach", v.Device)
	v.Device = "/dev/mapper/adopted-" + filepath.Base(v.Device)
	t.Run("mounted", func(t *testing.T) {
		v.Dir = lab.Mount(t, v.Device)
		w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
		for i := range lab.Rounds(t, 2, 20) {
			cycle(t, tool, w, v, fmt.Sprintf("a%d", i))
		}
		w.Stop(t)
		if _, stderr, code := tool.Try("detach", v.Dir); code != 5 {
			t.Errorf("detach what is mounted: exit %d: %s", code, stderr)
		}
		if report := tool.OK("doctor", v.Dir); !strings.Contains(report, "adopted") {
			t.Errorf("doctor: %s", report)
		}
	})
	tool.OK("detach", v.Device)
	lab.Run(t, "e2fsck", "-fn", disks[0]+"1")
}

// TestBypassedPartition writes to the partition's sectors through the whole disk: no image of it is called good then.
func TestBypassedPartition(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	plain := lab.Partition(t, disks[0], 1, 1, 32)
	store := lab.Store(t, "store", disks[1], 0, 64)
	tool := lab.NewTool(t)
	tool.OK("create", plain, "--store", store, "--name", "past")
	lab.Run(t, "dd", "if=/dev/zero", "of="+disks[0], "bs=4k", "seek=512", "count=1", "oflag=direct", "conv=notrunc", "status=none")
	set := tool.Show("past")
	if set.State != "bypassed" || !strings.Contains(set.Volumes[0].Reason, "another name") {
		t.Errorf("%s: %s", set.State, set.Volumes[0].Reason)
	}
	tool.OK("remove", "past")
}
