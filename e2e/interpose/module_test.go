package interpose

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

const slots = 64

// TestCycles slides base, front and image beneath a mounted filesystem and takes them away again, while a writer runs.
func TestCycles(t *testing.T) {
	for fstype, c := range map[string]struct{ size, few int }{"ext4": {64, 2}, "xfs": {310, 1}} {
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			lab.LoadModule(t)
			disks := lab.Disks(t, 2)
			plain := lab.Partition(t, disks[0], 1, 1, c.size)
			store := lab.Store(t, "store", disks[1], 0, c.size+16)
			lab.Format(t, fstype, plain)
			dir := lab.Mount(t, plain)
			w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
			for i := range lab.Rounds(t, c.few, 100) {
				t.Run(fmt.Sprint(i), func(t *testing.T) { cycle(t, fstype, plain, store, dir, w) })
			}
			w.WaitFor(t, 3)
			w.Stop(t)
		})
	}
}

func cycle(t *testing.T, fstype, plain, store, dir string, w *lab.Writer) {
	r := newRig(t, "cyc", plain)
	w.WaitFor(t, 2)
	r.attach()
	w.WaitFor(t, 2)
	i := r.cut("image", store, dir, true)
	before := i.sum()
	w.WaitFor(t, slots/4)
	if i.sum() != before {
		t.Error("the image changed with its origin")
	}
	check(t, fstype, i.path())
	i.remove()
	r.detach()
	w.WaitFor(t, 2)
	if front, bypassed := r.status(); front != "-" || bypassed != 0 {
		t.Errorf("after detach: front %s, %d writes bypassed it", front, bypassed)
	}
}

// check lets the filesystem's own checker read an image.
func check(t *testing.T, fstype, dev string) {
	t.Helper()
	switch fstype {
	case "ext4":
		lab.Run(t, "e2fsck", "-fn", dev)
	case "xfs": // its log is dirty on purpose while it is mounted
		dir := t.TempDir()
		lab.Run(t, "mount", "-o", "ro,norecovery,nouuid", dev, dir)
		lab.Run(t, "umount", dir)
	}
}

// TestRuleBDecides is the control: what the other tests compare changes when the front runs through the image's resume.
func TestRuleBDecides(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	plain := lab.Partition(t, disks[0], 1, 1, 32)
	store := lab.Store(t, "store", disks[1], 0, 64)
	for name, ruleB := range map[string]bool{"kept": true, "broken": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "rule", plain)
			r.attach()
			i := r.cut("image", store, "", ruleB)
			before := i.sum()
			lab.Run(t, "dd", "if=/dev/urandom", "of="+plain, "bs=1M", "count=16", "oflag=direct", "status=none")
			if kept := i.sum() == before; kept != ruleB {
				t.Errorf("image kept: %v", kept)
			}
			i.remove()
			r.detach()
		})
	}
}

// TestTracker has a dm-era device between base and front: it remembers what was written to the partition and no more, and an
// image on it stays what it was.
func TestTracker(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	const block = 128 // sectors
	disks := lab.Disks(t, 2)
	plain := lab.Partition(t, disks[0], 1, 1, 32)
	store, meta := lab.Store(t, "store", disks[1], 0, 64), lab.Store(t, "meta", disks[1], 64, 4)
	r := newTrackedRig(t, "era", plain, meta, block)
	r.attach()
	i := r.cut("image", store, "", true)
	before := i.sum()
	lab.Run(t, "dd", "if=/dev/urandom", "of="+plain, "bs=64k", "seek=100", "count=3", "oflag=direct", "status=none")
	if i.sum() != before {
		t.Error("the image changed with its origin")
	}
	lab.Run(t, "dmsetup", "message", r.top, "0", "take_metadata_snap")
	changed := lab.Run(t, "era_invalidate", "--metadata-snapshot", "--written-since", "1", meta)
	if strings.Join(strings.Fields(changed), "") != `<blocks><rangebegin="100"end="103"/></blocks>` {
		t.Errorf("blocks 100, 101 and 102 were written; the tracker says\n%s", changed)
	}
	lab.Run(t, "dmsetup", "message", r.top, "0", "drop_metadata_snap")
	i.remove()
	r.detach()
}

// TestHeldWhileAttached tries everything that would pull the floor away.
func TestHeldWhileAttached(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	dir := formatted(t, plain)
	w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
	r := newRig(t, "held", plain)
	refused(t, "dmsetup", "message", r.base, "0", "detach")
	r.attach()
	refused(t, "dmsetup", "remove", r.front)
	refused(t, "dmsetup", "remove", r.base)
	refused(t, "rmmod", "dm_interpose")
	refused(t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/"+r.front)
	if out := refused(t, "sysctl", "kernel.ftrace_enabled=0"); !strings.Contains(out, "busy") {
		t.Errorf("ftrace_enabled: %s", out)
	}
	other := newRig(t, "other", plain)
	if out := refused(t, "dmsetup", "message", other.base, "0", "attach", "/dev/mapper/"+other.front); !strings.Contains(out, "busy") {
		t.Errorf("second attach: %s", out)
	}
	w.WaitFor(t, 3)

	// A base that gets a new table lets go of the front by itself.
	lab.Run(t, "dmsetup", "load", r.base, "--table", r.table(r.base))
	lab.Run(t, "dmsetup", "resume", r.base)
	if front, _ := r.status(); front != "-" {
		t.Errorf("a new table is attached to %s", front)
	}
	w.WaitFor(t, 3)
	w.Stop(t)
}

// TestDetachWaitsForTheFront detaches while the front is suspended and holds writes.
func TestDetachWaitsForTheFront(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	dir := formatted(t, plain)
	w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
	r := newRig(t, "susp", plain)
	for range lab.Rounds(t, 3, 50) {
		r.attach()
		w.WaitFor(t, 2)
		lab.Run(t, "dmsetup", "suspend", "--nolockfs", r.front)
		done := make(chan error)
		go func() { done <- exec.Command("dmsetup", "message", r.base, "0", "detach").Run() }()
		lab.Run(t, "dmsetup", "resume", r.front)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		w.WaitFor(t, 2)
	}
	w.Stop(t)
}

// TestFrontIsChecked offers fronts that would lose or misplace data.
func TestFrontIsChecked(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	r := newRig(t, "front", plain)
	for _, c := range []struct{ name, table, want string }{
		{"elsewhere", fmt.Sprintf("0 %s linear %s 0", r.sectors, disks[1]), "cross-device"},
		{"short", fmt.Sprintf("0 8 linear /dev/mapper/%s 0", r.base), "invalid argument"},
	} {
		r.create(c.name, c.table)
		out := refused(t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/"+c.name)
		if !strings.Contains(strings.ToLower(out), c.want) {
			t.Errorf("%s: %s", c.name, out)
		}
	}
	refused(t, "dmsetup", "message", r.base, "0", "attach", disks[1])
	lab.Run(t, "dmsetup", "suspend", r.front)
	refused(t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/"+r.front)
	lab.Run(t, "dmsetup", "resume", r.front)
	if front, _ := r.status(); front != "-" {
		t.Errorf("attached to %s", front)
	}
}

// TestRefusedDevices names devices that cannot be interposed.
func TestRefusedDevices(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	mapped := lab.Linear(t, "mapped", disks[0], 0, 8)
	refused(t, "dmsetup", "create", "base", "--table", "0 8 interpose "+mapped)
	refused(t, "dmsetup", "create", "base", "--table", "0 99999999999 interpose "+disks[0])
	refused(t, "dmsetup", "create", "base", "--table", "0 8 interpose /dev/null")
	refused(t, "dmsetup", "create", "base", "--table", "0 8 interpose "+disks[0]+" extra")
	lab.Run(t, "modprobe", "null_blk", "zoned=1", "gb=1", "zone_size=64")
	t.Cleanup(func() { lab.Run(t, "rmmod", "null_blk") })
	refused(t, "dmsetup", "create", "base", "--table", "0 131072 interpose /dev/nullb0")
	log := lab.Run(t, "dmesg")
	for _, want := range []string{"Device is a device-mapper device", "larger than the device", "No such device", "Invalid argument count", "Zoned devices are not supported"} {
		if !strings.Contains(log, want) {
			t.Errorf("the kernel's log lacks %q", want)
		}
	}
}

func formatted(t *testing.T, plain string) string {
	t.Helper()
	lab.Format(t, "ext4", plain)
	return lab.Mount(t, plain)
}
