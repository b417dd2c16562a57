package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// layout is a way in which filesystems lie on origins and are mounted.
type layout struct {
	volumes []lab.Volume
	ring    string   // where the writer writes
	frozen  []string // what the receipt names, in the order of the freezes
	flags   []string // of create
	// image mounts the image of the filesystem with the ring; nil: as dmsnap does.
	image func(t *testing.T, set lab.Set, dir string)
	// below is where the ring's directory is within the mounted images.
	below string
}

// TestFilesystemLayouts cuts each under a writer: the filesystem is frozen, once and in the right order, the image holds
// every write before the window and none after it, and a check of the origin finds nothing.
func TestFilesystemLayouts(t *testing.T) {
	lab.Wide(t)
	for name, build := range map[string]func(t *testing.T) layout{
		"mounted twice": mountedTwice, "bind mount": bound, "in another namespace only": elsewhere,
		"nested": nested, "ext4 with a journal beside it": journalBeside, "xfs with a log beside it": logBeside, "swap file": swapFile,
	} {
		t.Run(name, func(t *testing.T) {
			lab.Need(t)
			l := build(t)
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, l.ring)
			w.WaitFor(t, 3)
			set := tool.CreateWith("one", l.flags, l.volumes...)
			if set.Receipt.Consistency != "filesystem" || !slices.Equal(set.Receipt.Frozen, l.frozen) {
				t.Errorf("consistency %s, frozen %v, want %v", set.Receipt.Consistency, set.Receipt.Frozen, l.frozen)
			}
			w.WaitFor(t, slots/8)
			dir := t.TempDir()
			if l.image == nil {
				tool.OK("mount", "one", dir)
			} else {
				l.image(t, set, dir)
			}
			got := lab.Check(t, filepath.Join(dir, l.below, "ring"), slots)
			w.Expect(t, "the image", set.Receipt, got)
			if l.image == nil {
				tool.OK("umount", "one")
			} else {
				lab.Run(t, "umount", dir)
			}
			tool.OK("remove", "one")
			w.Stop(t)
		})
	}
}

// checked is a volume whose filesystem is checked when it is unmounted at the end.
func checked(t *testing.T, name, fstype string, disk int, startMiB int) lab.Volume {
	t.Helper()
	disks := lab.Disks(t, 4)
	v := lab.Volume{Name: name, Device: lab.Linear(t, name, disks[disk], startMiB, 320), Store: lab.Store(t, name+"-cow", disks[disk+2], startMiB, 328)}
	lab.Format(t, fstype, v.Device)
	t.Cleanup(func() { check(t, fstype, v.Device) })
	return v
}

func check(t *testing.T, fstype, dev string, more ...string) {
	t.Helper()
	if fstype == "xfs" {
		lab.Run(t, "xfs_repair", append(append([]string{"-n"}, more...), dev)...)
		return
	}
	lab.Run(t, "e2fsck", "-fn", dev)
}

func mountedTwice(t *testing.T) layout {
	v := checked(t, "twice", "xfs", 0, 0)
	first := lab.Mount(t, v.Device)
	lab.Mount(t, v.Device)
	return layout{volumes: []lab.Volume{v}, ring: filepath.Join(first, "ring"), frozen: []string{first}}
}

// bound has a subdirectory mounted elsewhere, and the whole unmounted: only the bind mount is left.
func bound(t *testing.T) layout {
	v := checked(t, "bound", "ext4", 0, 0)
	whole, part := t.TempDir(), t.TempDir()
	lab.Run(t, "mount", v.Device, whole)
	if err := os.Mkdir(filepath.Join(whole, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "mount", "--bind", filepath.Join(whole, "sub"), part)
	t.Cleanup(func() { lab.Run(t, "umount", part) })
	lab.Run(t, "umount", whole)
	return layout{volumes: []lab.Volume{v}, ring: filepath.Join(part, "ring"), frozen: []string{part}, below: "sub"}
}

// elsewhere has it mounted where only a process of another mount namespace sees it.
func elsewhere(t *testing.T) layout {
	v := checked(t, "hidden", "ext4", 0, 0)
	dir := t.TempDir()
	cmd := otherNamespace(t, v.Device, dir, "rw")
	return layout{volumes: []lab.Volume{v}, ring: fmt.Sprintf("/proc/%d/root%s/ring", cmd.Process.Pid, dir), frozen: []string{dir}}
}

// nested has one origin mounted inside the other: the inner one is frozen first, as a write to it could wait for the outer.
func nested(t *testing.T) layout {
	outer, inner := checked(t, "outer", "ext4", 0, 0), checked(t, "inner", "xfs", 1, 0)
	dir := lab.Mount(t, outer.Device)
	within := filepath.Join(dir, "within")
	if err := os.Mkdir(within, 0o755); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "mount", inner.Device, within)
	t.Cleanup(func() { lab.Run(t, "umount", within) })
	return layout{volumes: []lab.Volume{outer, inner}, ring: filepath.Join(within, "ring"), frozen: []string{within, dir}, below: within}
}

func journalBeside(t *testing.T) layout {
	data, journal := checkedPair(t, "ext4")
	lab.Run(t, "mke2fs", "-q", "-F", "-O", "journal_dev", journal.Device)
	lab.Run(t, "mkfs.ext4", "-q", "-F", "-J", "device="+journal.Device, data.Device)
	dir := lab.Mount(t, data.Device)
	return layout{
		volumes: []lab.Volume{data, journal}, ring: filepath.Join(dir, "ring"), frozen: []string{dir},
		image: func(t *testing.T, set lab.Set, dir string) {
			lab.Run(t, "mount", "-t", "ext4", "-o", "ro,noload", set.Volumes[0].Device, dir)
		},
	}
}

func logBeside(t *testing.T) layout {
	data, log := checkedPair(t, "xfs")
	lab.Run(t, "mkfs.xfs", "-q", "-f", "-l", "logdev="+log.Device, data.Device)
	dir := t.TempDir()
	lab.Run(t, "mount", "-o", "logdev="+log.Device, data.Device, dir)
	t.Cleanup(func() { lab.Run(t, "umount", dir) })
	return layout{
		volumes: []lab.Volume{data, log}, ring: filepath.Join(dir, "ring"), frozen: []string{dir},
		flags: []string{"--writable"}, // xfs opens its log for writing, mounted read-only or not
		image: func(t *testing.T, set lab.Set, dir string) {
			lab.Run(t, "mount", "-t", "xfs", "-o", "ro,nouuid,norecovery,logdev="+set.Volumes[1].Device, set.Volumes[0].Device, dir)
		},
	}
}

// checkedPair is a volume for data and one for what belongs to it.
func checkedPair(t *testing.T, fstype string) (data, beside lab.Volume) {
	t.Helper()
	disks := lab.Disks(t, 4)
	for i, v := range []*lab.Volume{&data, &beside} {
		v.Name = []string{"data", "beside"}[i]
		v.Device, v.Store = lab.Linear(t, v.Name, disks[i], 0, 320), lab.Store(t, v.Name+"-cow", disks[i+2], 0, 328)
	}
	t.Cleanup(func() {
		if fstype == "xfs" {
			check(t, "xfs", data.Device, "-l", beside.Device)
			return
		}
		check(t, fstype, data.Device)
	})
	return data, beside
}

func swapFile(t *testing.T) layout {
	v := checked(t, "swapped", "ext4", 0, 0)
	dir := lab.Mount(t, v.Device)
	file := filepath.Join(dir, "swap")
	lab.Run(t, "dd", "if=/dev/zero", "of="+file, "bs=1M", "count=32", "status=none")
	lab.Run(t, "chmod", "600", file)
	lab.Run(t, "mkswap", "-q", file)
	lab.Run(t, "swapon", file)
	t.Cleanup(func() { lab.Run(t, "swapoff", file) })
	return layout{volumes: []lab.Volume{v}, ring: filepath.Join(dir, "ring"), frozen: []string{dir}}
}

// TestCrashConsistency: no filesystem is frozen, and the receipt says so. What was on the medium is in the image, once its
// journal is replayed.
func TestCrashConsistency(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	v := checked(t, "crash", "ext4", 0, 0)
	v.Dir = lab.Mount(t, v.Device)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	w.WaitFor(t, 3)
	set := tool.CreateWith("one", []string{"--consistency", "crash", "--writable"}, v)
	if set.Receipt.Consistency != "crash" || len(set.Receipt.Frozen) > 0 {
		t.Errorf("consistency %s, frozen %v", set.Receipt.Consistency, set.Receipt.Frozen)
	}
	w.WaitFor(t, slots/8)
	dir := t.TempDir()
	lab.Run(t, "mount", set.Volumes[0].Device, dir)
	got := lab.Check(t, filepath.Join(dir, "ring"), slots)
	w.Expect(t, "the image", set.Receipt, got)
	lab.Run(t, "umount", dir)
	tool.OK("remove", "one")
	w.Stop(t)
}
