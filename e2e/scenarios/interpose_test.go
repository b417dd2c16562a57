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
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			lab.LoadModule(t)
			v := partition(t, fstype, 64)
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			for i := range lab.Rounds(t, 2, 100) {
				w.WaitFor(t, 3)
				cycle(t, tool, w, v, fmt.Sprintf("p%d", i))
				if left := lab.Run(t, "dmsetup", "ls"); strings.Contains(left, "dmsnap-front") || strings.Contains(left, "dmsnap-base") {
					t.Fatalf("left over: %s", left)
				}
			}
			w.Stop(t)
			sound(t, fstype, v)
		})
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

// sound lets the checker look at the origin, unmounted.
func sound(t *testing.T, fstype string, v lab.Volume) {
	t.Helper()
	lab.Run(t, "umount", v.Dir)
	switch fstype {
	case "ext4":
		lab.Run(t, "e2fsck", "-fn", v.Device)
	case "xfs":
		lab.Run(t, "xfs_repair", "-n", v.Device)
	}
	lab.Run(t, "mount", v.Device, v.Dir)
}

// TestAttachedPartition attaches by itself: the layer outlives sets, nobody can remove it, and a filesystem goes on on it.
func TestAttachedPartition(t *testing.T) {
	lab.Need(t)
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
	sound(t, "ext4", v)
}

// TestInterposedRoot has a root filesystem on a partition, dmsnap and its state on it, and the store in a file on it too:
// a machine with one disk and one partition.
func TestInterposedRoot(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	v := partition(t, "ext4", 192)
	tool := lab.NewTool(t).Inside(v.Dir)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	for i := range lab.Rounds(t, 1, 100) {
		w.WaitFor(t, 3)
		name := fmt.Sprintf("root%d", i)
		set := tool.CreateOnly(name, "/", "--store", "file:/cow", "--size", "48m")
		if set.State != "active" || set.Receipt.Consistency != "filesystem" {
			t.Fatalf("%s is %s at consistency %s", name, set.State, set.Receipt.Consistency)
		}
		w.WaitFor(t, slots/4)
		lab.Run(t, "e2fsck", "-fn", set.Volumes[0].Device)
		tool.OK("mount", name, "/mnt")
		got := lab.Check(t, filepath.Join(v.Dir, "mnt", "ring"), slots)
		if least, most := w.Bounds(set.Receipt.Start, set.Receipt.End); got < least || got > most {
			t.Errorf("%s holds %d records; %d were acknowledged before the window, %d issued before its end", name, got, least, most)
		}
		tool.OK("umount", name)
		tool.OK("remove", name)
	}
	w.Stop(t)
}

// TestBypassedPartition writes to the partition's sectors through the whole disk: no image of it is called good then.
func TestBypassedPartition(t *testing.T) {
	lab.Need(t)
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
