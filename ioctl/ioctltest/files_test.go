package ioctltest_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func TestFiles(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.ok(h.b.MkdirAll("/var/lib/dmsnap/sets", 0o700))
	h.ok(h.b.WriteFile("/var/lib/dmsnap/a", []byte("hello"), 0o600))
	h.ok(h.b.Rename("/var/lib/dmsnap/a", "/var/lib/dmsnap/sets/b"))
	h.ok(h.b.Symlink("../sets/b", "/var/lib/dmsnap/sets/c"))
	if got := h.read("/var/lib/dmsnap/sets/c"); got != "hello" {
		t.Error(got)
	}
	h.ok(h.b.SyncDir("/var/lib/dmsnap/sets"))
	h.is(unix.ENOTEMPTY, h.b.Rmdir("/var/lib/dmsnap/sets"))
	h.is(unix.ENOTDIR, h.b.Mkdir("/var/lib/dmsnap/sets/b/x", 0o700))
	h.is(unix.EXDEV, h.b.Rename("/var/lib/dmsnap/sets/b", "/home/b"))
	h.is(unix.EEXIST, h.b.Mkdir("/home", 0o700))
	_, err := h.b.Open("/var/lib/dmsnap/sets/b", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600)
	h.is(unix.EEXIST, err)
	one, err := h.b.Open("/var/lib/dmsnap/sets/b", unix.O_RDWR, 0)
	h.ok(err)
	two, err := h.b.Open("/var/lib/dmsnap/sets/b", unix.O_RDWR, 0)
	h.ok(err)
	h.ok(one.Lock(unix.LOCK_EX | unix.LOCK_NB))
	h.is(unix.EWOULDBLOCK, two.Lock(unix.LOCK_EX|unix.LOCK_NB))
	h.ok(one.Close())
	h.ok(two.Lock(unix.LOCK_SH | unix.LOCK_NB))
	st, err := two.Stat()
	h.ok(err)
	if st.Mode&0o777 != 0o600 || st.Size != 5 {
		t.Errorf("%+v", st)
	}
	h.ok(two.Truncate(2))
	if got := h.read("/var/lib/dmsnap/sets/b"); got != "he" {
		t.Error(got)
	}
	h.ok(two.SetFlags(0x10))
	h.is(unix.EPERM, h.b.Unlink("/var/lib/dmsnap/sets/b"))
	h.k.Exit()
	if strings.Contains(h.k.Snapshot(), "fd ") {
		t.Error("descriptors are left")
	}
}

func TestExtents(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.ok(h.b.WriteFile("/home/store", make([]byte, mib), 0o600))
	f, err := h.b.Open("/home/store", unix.O_RDONLY, 0)
	h.ok(err)
	extents, err := f.Extents(ioctl.FiemapSync)
	h.ok(err)
	if len(extents) != 1 || extents[0].Length != mib || extents[0].Physical != 8*mib-mib || extents[0].Flags != ioctl.ExtentLast {
		t.Errorf("%+v", extents)
	}
	f, err = h.b.Open("/run", unix.O_RDONLY, 0)
	h.ok(err)
	_, err = f.Extents(0)
	h.is(unix.EOPNOTSUPP, err)
}

func TestMountRules(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.k.AddDisk("vdx", ioctl.DevNo{Major: 252, Minor: 64}, 16*mib)
	x := h.k.AddDM("x", "", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:64 0"})
	h.k.Mount(x, "/x", "xfs")
	h.ok(h.b.Mkdir("/image", 0o700))
	base := h.make("xbase", ioctl.Event{}, 16384, "linear", "252:64 0")
	h.make("ximage", ioctl.Event{}, 16384, "snapshot", base.String()+" 252:32 P 16")
	const node = "/dev/dm-3"
	h.is(unix.EINVAL, h.b.Mount(node, "/image", "ext4", 0, ""))
	h.is(unix.EINVAL, h.b.Mount(node, "/image", "xfs", 0, ""))
	h.is(unix.ENOENT, h.b.Mount(node, "/absent", "xfs", 0, "nouuid"))
	h.ok(h.b.Mount(node, "/image", "xfs", 0, "nouuid"))
	_, err := h.c.Remove(ioctl.ID{Name: "ximage"}, 0, ioctl.Event{})
	h.is(unix.EBUSY, err)
	h.ok(h.b.Unmount("/image", 0))
	h.ok(h.c.Load(ioctl.ID{Name: "ximage"}, ioctl.ReadOnly, []ioctl.Spec{{Length: 16384, Type: "snapshot", Params: base.String() + " 252:32 P 16"}}))
	_, err = h.c.Resume(ioctl.ID{Name: "ximage"}, 0, ioctl.Event{})
	h.ok(err)
	h.is(unix.EACCES, h.b.Mount(node, "/image", "xfs", 0, "nouuid"))
	h.is(unix.EROFS, h.b.Mount(node, "/image", "xfs", unix.MS_RDONLY, "nouuid"))
	h.ok(h.b.Mount(node, "/image", "xfs", unix.MS_RDONLY, "nouuid,norecovery"))
}

// TestLockFS: which filesystems a suspend freezes.
func TestLockFS(t *testing.T) {
	for _, c := range []struct {
		release, fstype string
		frozen          bool
	}{
		{"6.1.0", "xfs", true},
		{"6.1.0", "vfat", true},
		{"6.1.0", "btrfs", false},
		{"6.12.1", "btrfs", false},
		{"7.2.13", "btrfs", true},
	} {
		h := newHost(t, ioctltest.Options{Release: c.release})
		dev := h.k.AddDM("other", "", ioctltest.Row{Length: 8192, Type: "linear", Params: "252:32 0"})
		h.k.Mount(dev, "/other", c.fstype)
		_, err := h.c.Suspend(ioctl.ID{Name: "other"}, 0)
		h.ok(err)
		if got := strings.Contains(h.k.Snapshot(), c.fstype+" on dm-1 frozen=1"); got != c.frozen {
			t.Errorf("%+v: %v", c, got)
		}
		_, err = h.c.Resume(ioctl.ID{Name: "other"}, 0, ioctl.Event{})
		h.ok(err)
		if strings.Contains(h.k.Snapshot(), "frozen=1") {
			t.Errorf("%+v: still frozen", c)
		}
	}
}

func TestProcAndSys(t *testing.T) {
	h := newHost(t, ioctltest.Options{Release: "6.12.1"})
	h.k.AddProcess(100, "postgres", 0, "/home/db", "/dev/mapper/vg-home")
	h.k.AddProcess(200, "container", 4026532000)
	h.k.Mount(h.home, "/data", "ext4", ioctltest.MountIn(4026532000), ioctltest.MountSub("/sub dir"))
	h.k.AddDisk("vda", ioctl.DevNo{Major: 252}, 16*mib, ioctltest.Sectors(4096, 4096), ioctltest.Partition(1, mib, 8*mib))

	if got := h.read("/proc/100/comm"); got != "postgres\n" {
		t.Error(got)
	}
	if info := h.read("/proc/200/mountinfo"); !strings.Contains(info, ` 254:0 /sub\040dir /data rw`) {
		t.Error(info)
	}
	if info := h.read("/proc/self/mountinfo"); strings.Contains(info, "/data") || !strings.Contains(info, " 254:0 / /home rw") {
		t.Error(info)
	}
	st, err := h.b.Stat("/proc/200/root/data")
	h.ok(err)
	if st.Dev != h.home {
		t.Errorf("/data of the container is on %v", st.Dev)
	}
	st, err = h.b.Stat("/proc/100/fd/4")
	h.ok(err)
	if st.Rdev != h.home {
		t.Errorf("descriptor 4 is %v", st.Rdev)
	}
	for path, want := range map[string]string{
		"/sys/dev/block/254:0/dm/uuid":                    "LVM-home\n",
		"/sys/dev/block/254:0/slaves/vdb/dev":             "252:16\n",
		"/sys/block/vdb/holders/dm-0/dm/name":             "vg-home\n",
		"/sys/class/block/vda1/partition":                 "1\n",
		"/sys/dev/block/252:1/size":                       "16384\n",
		"/sys/block/vda/queue/logical_block_size":         "4096\n",
		"/sys/fs/ext4/dm-0/journal_task":                  "<none>\n",
		"/sys/class/misc/device-mapper/dev":               "10:236\n",
		"/proc/sys/kernel/osrelease":                      "6.12.1\n",
		"/sys/devices/virtual/block/dm-0/holders/../size": "16384\n",
	} {
		if got := h.read(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	h.ok(h.b.WriteFile("/sys/kernel/rcu_expedited", []byte("1"), 0))
	if got := h.read("/sys/kernel/rcu_expedited"); got != "1\n" {
		t.Error(got)
	}
	if !strings.Contains(h.k.Snapshot(), "knob /sys/kernel/rcu_expedited") {
		t.Error("the knob is not in the snapshot")
	}
	if !h.b.Alive(100) || h.b.Alive(101) {
		t.Error("wrong processes alive")
	}
}
