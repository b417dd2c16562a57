package freeze_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

var (
	diskA = ioctl.DevNo{Major: 252, Minor: 0}
	diskB = ioctl.DevNo{Major: 252, Minor: 16}
	diskC = ioctl.DevNo{Major: 252, Minor: 32}
)

// host has ext4 at /srv, xfs at /srv/db with a bind mount, vfat at /boot.
func host() *ioctltest.Kernel {
	k := ioctltest.New(ioctltest.Options{})
	k.AddDisk("vda", diskA, 64<<20)
	k.AddDisk("vdb", diskB, 64<<20)
	k.AddDisk("vdc", diskC, 64<<20)
	k.Mount(diskA, "/srv", "ext4")
	k.Mount(diskB, "/srv/db", "xfs")
	k.Mount(diskB, "/mnt/bind", "xfs", ioctltest.MountSub("wal"))
	if err := k.Write(diskC, 82, []byte("FAT32   ")); err != nil {
		panic(err)
	}
	k.Mount(diskC, "/boot", "vfat")
	return k
}

func both() []freeze.Device {
	return []freeze.Device{{DevNo: diskA}, {DevNo: diskB}}
}

// hold all of a host's ext4 and xfs through the whole life of a set.
func cycle(k *ioctl.Kernel) error {
	table, err := freeze.Mounts(k)
	if err != nil {
		return err
	}
	set, err := freeze.Open(k, table.Plan(both()...))
	if err != nil {
		return err
	}
	err = set.Freeze(context.Background())
	if err == nil {
		err = errors.Join(set.Prove(), set.Thaw())
	}
	err = errors.Join(err, set.Close())
	return errors.Join(err, set.Close()) // what could not be thawed at first
}

func TestCycle(t *testing.T) {
	k := host()
	before := k.Snapshot()
	must(t, cycle(k.Border()))
	if diff := cmp.Diff(before, k.Snapshot()); diff != "" || len(k.Hangs()) > 0 {
		t.Error(k.Hangs(), diff)
	}
	var got []string
	for _, c := range k.Log() {
		if c.Op == "ioctl" {
			got = append(got, c.Request+" "+c.Path)
		}
	}
	want := []string{
		"FIFREEZE /srv/db", "FIFREEZE /srv", // deeper first
		"FIFREEZE /srv/db", "FIFREEZE /srv", // the proofs
		"FITHAW /srv", "FITHAW /srv/db",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEveryCallFails: whatever fails, nothing stays frozen and nothing open.
func TestEveryCallFails(t *testing.T) {
	k := host()
	must(t, cycle(k.Border()))
	for n := range k.Calls() {
		k := host()
		before := k.Snapshot()
		var failed ioctltest.Call
		k.Fail(func(c ioctltest.Call) error {
			if c.N != n+1 {
				return nil
			}
			failed = c
			return unix.EIO
		})
		err := cycle(k.Border())
		if diff := cmp.Diff(before, k.Snapshot()); diff != "" || len(k.Hangs()) > 0 {
			t.Errorf("%v fails (%v): %v\n%s", failed, err, k.Hangs(), diff)
		}
		frozen := strings.HasPrefix(failed.Request, "FI")
		if err == nil && (frozen || failed.Op == "fsync" || failed.Op == "syncfs") {
			t.Errorf("%v fails and nobody is told", failed)
		}
	}
}

func TestPlanOfMethods(t *testing.T) {
	k := host()
	table := mounts(t, k.Border())
	plan := table.Plan(freeze.Device{DevNo: diskC, Front: true}, freeze.Device{DevNo: diskB})
	if len(plan) != 2 || plan[0].Mountpoint() != "/srv/db" || plan[1].Method != freeze.LockFS {
		t.Errorf("plan: %+v", plan)
	}
	if len(plan[0].Mounts) != 2 {
		t.Errorf("mounts of one superblock: %+v", plan[0].Mounts)
	}
	set, err := freeze.Open(k.Border(), plan)
	must(t, err)
	if left := set.Left(); len(left) != 1 || left[0].FSType != "vfat" || len(set.Handles()) != 1 {
		t.Errorf("left: %+v", left)
	}
	must(t, set.Close())
	if got := table.Of(ioctl.DevNo{Major: 252, Minor: 99}); got != nil {
		t.Errorf("mounts of no device: %+v", got)
	}
}

func TestTrialOfUnknownType(t *testing.T) {
	k := host()
	plan := mounts(t, k.Border()).Plan(freeze.Device{DevNo: diskC})
	plan[0].Method, plan[0].Trial = freeze.Freeze, true
	set, err := freeze.Open(k.Border(), plan)
	must(t, err)
	if got := set.Plan()[0]; got.Method != freeze.None || got.Reason == "" || got.Trial {
		t.Errorf("got %+v", got)
	}
	must(t, set.Close())
}

func TestTrialMeetsAnotherHolder(t *testing.T) {
	k := host()
	k.Freeze("/srv", true)
	plan := mounts(t, k.Border()).Plan(freeze.Device{DevNo: diskA})
	plan[0].Trial = true
	before := k.Snapshot()
	_, err := freeze.Open(k.Border(), plan)
	wantKind(t, err, freeze.ErrFrozenByOther, unix.EBUSY)
	if diff := cmp.Diff(before, k.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

func TestBtrfsByMember(t *testing.T) {
	k := host()
	disk := ioctl.DevNo{Major: 252, Minor: 48}
	k.AddDisk("vdd", disk, 64<<20)
	k.Mount(disk, "/pool", "btrfs", ioctltest.MountSub("@pool"), ioctltest.MountSource("/dev/nowhere"))
	table, err := freeze.Mounts(k.Border())
	must(t, err)
	problems := table.Problems()
	if len(problems) != 1 || problems[0].Kind != freeze.Unresolved || problems[0].Text != "/pool" {
		t.Errorf("problems: %v", problems)
	}

	k = host()
	k.AddDisk("vdd", disk, 64<<20)
	k.Mount(disk, "/pool", "btrfs", ioctltest.MountSub("@pool"))
	plan := mounts(t, k.Border()).Plan(freeze.Device{DevNo: disk, Front: true})
	if len(plan) != 1 || plan[0].Method != freeze.Freeze || !slices.Equal(plan[0].Devices, []ioctl.DevNo{disk}) {
		t.Errorf("plan: %+v", plan)
	}
}

func TestForeignNamespaces(t *testing.T) {
	k := host()
	disk := ioctl.DevNo{Major: 252, Minor: 48}
	k.AddDisk("vdd", disk, 64<<20)
	k.AddProcess(4000001, "inside", 4026532001)
	k.AddProcess(4000002, "beside", 4026532001)
	k.Mount(disk, "/data", "ext4", ioctltest.MountIn(4026532001))
	got := mounts(t, k.Border()).Of(disk)
	if len(got) != 1 || got[0].PID != 4000001 || got[0].Reach != "/proc/4000001/root/data" || got[0].Namespace != "mnt:[4026532001]" {
		t.Fatalf("mounts: %+v", got)
	}
	set := open(t, k.Border(), disk)
	must(t, set.Freeze(t.Context()))
	if diff := cmp.Diff([]string{"/data"}, set.Frozen()); diff != "" {
		t.Error(diff)
	}
	must(t, set.Thaw())
}

// TestProcessesComeAndGo: one that ends while it is looked at is no problem,
// one that does not let us look is.
func TestProcessesComeAndGo(t *testing.T) {
	for _, c := range []struct {
		errno    unix.Errno
		path     string
		problems int
	}{
		{unix.ENOENT, "/ns/mnt", 0},
		{unix.ESRCH, "/mountinfo", 0},
		{unix.EINVAL, "/mountinfo", 0},
		{unix.ENOENT, "/root", 0},
		{unix.EACCES, "/ns/mnt", 1},
		{unix.EACCES, "/root", 1},
		{unix.EACCES, "/mountinfo", 1},
		{unix.EACCES, "/task", 0}, // the process itself is looked at instead
	} {
		k := host()
		k.AddProcess(4000001, "inside", 4026532001)
		k.Fail(func(call ioctltest.Call) error {
			if strings.HasPrefix(call.Path, "/proc/4000001") && strings.HasSuffix(call.Path, c.path) {
				return c.errno
			}
			return nil
		})
		table, err := freeze.Mounts(k.Border())
		must(t, err)
		problems := table.Problems()
		if len(problems) != c.problems || c.problems > 0 && (problems[0].Kind != freeze.Unreadable || problems[0].PID != 4000001) {
			t.Errorf("%v at %s: %v", c.errno, c.path, problems)
		}
	}
}

func TestStale(t *testing.T) {
	k := host()
	plan := mounts(t, k.Border()).Plan(freeze.Device{DevNo: diskB})
	must(t, k.Border().Unmount("/srv/db", 0))
	set, err := freeze.Open(k.Border(), plan) // through the bind mount
	must(t, err)
	if got := set.Handles()[0].Mount().Path; got != "/mnt/bind" {
		t.Errorf("opened %s", got)
	}
	must(t, set.Close())
	must(t, k.Border().Unmount("/mnt/bind", 0))
	_, err = freeze.Open(k.Border(), plan)
	wantKind(t, err, freeze.ErrStale, nil)
}

func TestThawGoesOn(t *testing.T) {
	k := host()
	set := open(t, k.Border(), diskA, diskB)
	must(t, set.Freeze(t.Context()))
	k.Fail(func(c ioctltest.Call) error {
		if c.Request == "FITHAW" && c.Path == "/srv" {
			return unix.EIO
		}
		return nil
	})
	if err := set.Thaw(); !errors.Is(err, unix.EIO) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"/srv"}, set.Frozen()); diff != "" {
		t.Error(diff)
	}
	if err := set.Close(); !errors.Is(err, unix.EIO) || len(set.Handles()) != 1 {
		t.Errorf("got %v", err)
	}
	k.Fail(nil)
	must(t, set.Thaw())
	must(t, set.Close())
	if left := set.Handles(); len(left) != 0 {
		t.Errorf("left open: %v", left)
	}
}

func TestRescueGoesOn(t *testing.T) {
	k := host()
	plan := mounts(t, k.Border()).Plan(append(both(), freeze.Device{DevNo: diskC, Front: true})...)
	k.Freeze("/srv", true)
	k.Freeze("/srv/db", true)
	k.Fail(func(c ioctltest.Call) error {
		if c.Request == "FITHAW" && c.Path == "/srv/db" {
			return unix.EIO
		}
		return nil
	})
	thawed, err := freeze.Rescue(t.Context(), k.Border(), plan)
	if diff := cmp.Diff([]string{"/srv"}, thawed); diff != "" || !errors.Is(err, unix.EIO) {
		t.Error(err, diff)
	}
	k.Fail(nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := freeze.Rescue(ended, k.Border(), plan); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	thawed, err = freeze.Rescue(t.Context(), k.Border(), plan)
	if diff := cmp.Diff([]string{"/srv/db"}, thawed); diff != "" || err != nil {
		t.Error(err, diff)
	}
}
