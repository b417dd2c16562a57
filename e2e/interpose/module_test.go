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

// TestCycles slides a front beneath a mounted filesystem and takes it away again, with an image in between, while a writer
// runs.
func TestCycles(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			lab.LoadModule(t)
			disks := lab.Disks(t, 2)
			plain := lab.Partition(t, disks[0], 1, 1, 64)
			store := lab.Store(t, "store", disks[1], 0, 80)
			lab.Format(t, fstype, plain)
			dir := lab.Mount(t, plain)
			r := newRig(t, "cyc", plain)
			w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
			for range lab.Rounds(t, 2, 30) {
				r.cycle(fstype, store, dir, w)
			}
			w.WaitFor(t, 3)
			w.Stop(t)
		})
	}
}

func (r *rig) cycle(fstype, store, dir string, w *lab.Writer) {
	r.t.Helper()
	w.WaitFor(r.t, 2)
	r.attach()
	w.WaitFor(r.t, 2)
	i := r.cut("image", store, dir, true)
	before := i.sum()
	w.WaitFor(r.t, slots/4)
	if i.sum() != before {
		r.t.Error("the image changed with its origin")
	}
	check(r.t, fstype, i.path())
	i.remove()
	if _, bypassed := r.status(); bypassed != 0 {
		r.t.Errorf("%d writes bypassed the front", bypassed)
	}
	r.detach()
	w.WaitFor(r.t, 2)
	if front, _ := r.status(); front != "-" {
		r.t.Errorf("after detach: front %s", front)
	}
}

// check lets the filesystem's own checker read an image, which may be written to.
func check(t *testing.T, fstype, dev string) {
	t.Helper()
	switch fstype {
	case "ext4":
		lab.Run(t, "e2fsck", "-fn", dev)
	case "xfs": // only the kernel reads its log, and freezing leaves something there
		dir := t.TempDir()
		lab.Run(t, "mount", "-o", "nouuid", dev, dir)
		lab.Run(t, "umount", dir)
		lab.Run(t, "xfs_repair", "-n", dev)
	}
}

// TestRuleBDecides is the control experiment: when the front runs while the image is resumed, the image does change, in the
// way that the other tests would notice.
func TestRuleBDecides(t *testing.T) {
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

// TestTrackerInUse has a tracker beneath a mounted filesystem and images of it, the root too.
func TestTrackerInUse(t *testing.T) {
	for _, where := range []string{"partition", "root"} {
		t.Run(where, func(t *testing.T) {
			lab.LoadModule(t)
			disks := lab.Disks(t, 2)
			plain := lab.Partition(t, disks[0], 1, 1, 64)
			store, meta := lab.Store(t, "store", disks[1], 0, 80), lab.Store(t, "meta", disks[1], 80, 4)
			dir := formatted(t, plain)
			r := newTrackedRig(t, "era", plain, meta, 128)
			w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
			if where == "root" {
				lab.EnterRoot(t, dir)
				dir = "/"
			}
			for range lab.Rounds(t, 2, 20) {
				r.cycle("ext4", store, dir, w)
			}
			w.Stop(t)
		})
	}
}

// TestHeldWhileAttached tries everything that would pull the floor away.
func TestHeldWhileAttached(t *testing.T) {
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
	r.attached = false
	if front, _ := r.status(); front != "-" {
		t.Errorf("a new table is attached to %s", front)
	}
	w.WaitFor(t, 3)
	w.Stop(t)
}

// TestDetachWaitsForTheFront detaches while the front is suspended and holds writes.
func TestDetachWaitsForTheFront(t *testing.T) {
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
		r.attached = false
		w.WaitFor(t, 2)
	}
	w.Stop(t)
}

// TestFrontIsChecked offers fronts that would lose or misplace data.
func TestFrontIsChecked(t *testing.T) {
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
	refused(t, "dmsetup", "create", "base", "--table", "0 131072 interpose "+scsiDisk(t, "dix=1", "dif=1"))
	log := lab.Run(t, "dmesg")
	for _, want := range []string{"Device is a device-mapper device", "larger than the device", "No such device", "Invalid argument count", "Zoned devices are not supported", "Devices with integrity data are not supported"} {
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
