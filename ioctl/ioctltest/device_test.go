package ioctltest_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestTargets: what goes in through one target comes out of another.
func TestTargets(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	low := h.k.AddDM("low", "", ioctltest.Row{Length: 64, Type: "linear", Params: "252:32 0"})
	even := h.k.AddDM("even", "", ioctltest.Row{Length: 64, Type: "linear", Params: "252:32 1024"})
	params := "2 8 " + low.String() + " 0 " + even.String() + " 0"
	striped := h.make("striped", ioctl.Event{}, 128, "striped", params)
	data := bytes.Repeat([]byte("0123456789abcdef"), 128*32)
	h.ok(h.k.Write(striped, 0, data))
	got := make([]byte, 8*512)
	h.ok(h.k.Read(even, 0, got))
	if !bytes.Equal(got, data[8*512:16*512]) {
		t.Error("the second chunk is not on the second leg")
	}
	_, specs, err := h.c.TargetStatus(ioctl.ID{Name: "striped"}, 0)
	h.ok(err)
	if want := "2 " + low.String() + " " + even.String() + " 1 AA"; specs[0].Params != want {
		t.Errorf("status %q", specs[0].Params)
	}
	crypt := h.make("crypt", ioctl.Event{}, 8, "crypt", "aes-xts-plain64 :32:logon:key 0 "+striped.String()+" 8")
	h.ok(h.k.Read(crypt, 0, got))
	if !bytes.Equal(got, data[8*512:16*512]) {
		t.Error("crypt reads the wrong place")
	}
	pool := h.make("pool", ioctl.Event{}, 1024, "thin-pool", low.String()+" "+even.String()+" 128 0")
	thin := h.make("thin", ioctl.Event{}, 1024, "thin", pool.String()+" 0")
	h.ok(h.k.Write(thin, 4096, []byte("thin")))
	h.ok(h.k.Read(thin, 4096, got[:4]))
	if string(got[:4]) != "thin" {
		t.Errorf("%q", got[:4])
	}
	if h.k.Write(h.make("error", ioctl.Event{}, 8, "error", ""), 0, got) != unix.EIO {
		t.Error("error takes writes")
	}
}

func TestBlockCalls(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	no := ioctl.DevNo{Major: 252, Minor: 80}
	h.k.AddDisk("vdf", no, mib, ioctltest.Sectors(4096, 8192))
	f, err := h.b.Open("/dev/vdf", unix.O_RDWR|unix.O_EXCL, 0)
	h.ok(err)
	size, err := f.BlockSize()
	h.ok(err)
	logical, physical, err := f.SectorSizes()
	h.ok(err)
	if size != mib || logical != 4096 || physical != 8192 {
		t.Error(size, logical, physical)
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{7}, 8192), 0)
	h.ok(err)
	h.ok(f.ZeroOut(0, 4096))
	h.is(unix.EINVAL, f.ZeroOut(512, 4096))
	h.ok(f.Discard(4096, 4096))
	b := make([]byte, 8192)
	_, err = f.ReadAt(b, 0)
	h.ok(err)
	if !bytes.Equal(b, make([]byte, 8192)) {
		t.Error("not zeroed")
	}
	h.ok(f.Flush())
	h.ok(f.Sync())
	_, err = f.WriteAt([]byte{1}, mib)
	h.is(unix.ENOSPC, err)
	_, err = h.b.Open("/dev/vdf", unix.O_RDONLY|unix.O_EXCL, 0)
	h.is(unix.EBUSY, err)
	h.k.SetSize(no, 2*mib)
	size, err = f.BlockSize()
	h.ok(err)
	if size != 2*mib {
		t.Error(size)
	}
	h.snapshot(true)
	front, err := h.b.Open("/dev/mapper/vg-home", unix.O_RDWR, 0)
	h.ok(err)
	h.is(unix.EOPNOTSUPP, front.Discard(0, 4096))
}

func TestReadOnlyDisk(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.k.AddDisk("sr0", ioctl.DevNo{Major: 11}, mib, ioctltest.ReadOnly())
	f, err := h.b.Open("/dev/sr0", unix.O_RDWR, 0)
	h.ok(err)
	ro, err := f.ReadOnly()
	h.ok(err)
	_, err = f.WriteAt([]byte{1}, 0)
	h.is(unix.EPERM, err)
	if !ro {
		t.Error("not read-only")
	}
}

// TestChunkOnLargeSectors: a chunk is a multiple of the block sizes beneath.
func TestChunkOnLargeSectors(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.k.AddDisk("vdf", ioctl.DevNo{Major: 252, Minor: 80}, mib, ioctltest.Sectors(4096, 4096))
	_, err := h.c.Create("image", "", 0, ioctl.DevNo{})
	h.ok(err)
	load := func(chunk string) error {
		return h.c.Load(ioctl.ID{Name: "image"}, 0, []ioctl.Spec{{Length: 64, Type: "snapshot", Params: "252:32 252:80 P " + chunk}})
	}
	h.is(unix.EINVAL, load("4"))
	h.ok(load("8"))
}

func TestRemoveAllAndGeometry(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	low := h.make("low", ioctl.Event{}, 64, "linear", "252:32 0")
	h.make("high", ioctl.Event{}, 64, "linear", low.String()+" 0")
	h.ok(h.c.SetGeometry(ioctl.ID{Name: "low"}, 1, 2, 3, 0))
	h.ok(h.c.RemoveAll(0))
	entries, err := h.c.List(ioctl.ID{})
	h.ok(err)
	if len(entries) != 1 || entries[0].Name != "vg-home" { // it is mounted
		t.Errorf("%v", entries)
	}
}

func TestLoop(t *testing.T) {
	h := newHost(t, ioctltest.Options{Release: "6.12.1"})
	h.ok(h.b.WriteFile("/home/store", make([]byte, mib), 0o600))
	before := h.k.Snapshot()
	l := h.k.AddLoop("/home/store")
	if got := h.read("/sys/dev/block/" + l.String() + "/loop/backing_file"); got != "/home/store\n" {
		t.Errorf("%q", got)
	}
	h.ok(h.k.Write(l, 4096, []byte("loop")))
	if got := h.read("/home/store")[4096:4100]; got != "loop" {
		t.Errorf("%q", got)
	}
	h.is(unix.EBUSY, h.b.Unmount("/home", 0))
	h.k.Freeze("/home", true)
	h.is(unix.EDEADLK, h.k.Write(l, 0, []byte("x")))
	h.k.Freeze("/home", false)
	h.ok(h.k.Write(l, 4096, make([]byte, 4)))
	h.k.RemoveLoop(l)
	if after := h.k.Snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestRootOnDevice(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	root := h.k.AddDM("root", "", ioctltest.Row{Length: 8192, Type: "linear", Params: "252:32 0"})
	h.k.Mount(root, "/", "ext4", ioctltest.MountData("errors=remount-ro"), ioctltest.MountSource("/dev/vg/root"))
	h.k.WriteFile("/etc/fstab", "none\n")
	h.k.Symlink("../mapper/root", "/dev/vg/root")
	st, err := h.b.Stat("/etc/fstab")
	h.ok(err)
	if st.Dev != root {
		t.Errorf("/etc/fstab is on %v", st.Dev)
	}
	if info := h.read("/proc/self/mountinfo"); !strings.Contains(info, " 254:1 / / rw,relatime shared:21 - ext4 /dev/vg/root rw,errors=remount-ro\n") {
		t.Error(info)
	}
	if mounts := h.read("/proc/mounts"); !strings.Contains(mounts, "/dev/mapper/vg-home /home ext4 rw") {
		t.Error(mounts)
	}
	h.k.Suspend("root", true)
	_, err = h.b.ReadFile("/etc/fstab")
	h.is(unix.EDEADLK, err)
	_, err = h.c.TargetVersion("snapshot")
	h.is(unix.EINVAL, err)
	h.hangs(2)
	h.k.Suspend("root", false)
	_, err = h.c.TargetVersion("snapshot")
	h.ok(err)
	if got := h.read("/proc/modules"); !strings.HasPrefix(got, "dm_snapshot ") {
		t.Error(got)
	}
}

func TestBindAndRemount(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.ok(h.b.MkdirAll("/home/user/docs", 0o755))
	h.ok(h.b.MkdirAll("/bind", 0o755))
	h.ok(h.b.Mount("/home/user", "/bind", "", unix.MS_BIND, ""))
	h.ok(h.b.WriteFile("/bind/docs/a", []byte("x"), 0o600))
	if h.read("/home/user/docs/a") != "x" {
		t.Error("the bind mount shows other files")
	}
	if info := h.read("/proc/self/mountinfo"); !strings.Contains(info, " 254:0 /user /bind rw") {
		t.Error(info)
	}
	h.ok(h.b.Mount("", "/bind", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	h.is(unix.EROFS, h.b.WriteFile("/bind/docs/b", nil, 0o600))
	h.ok(h.b.WriteFile("/home/user/docs/b", nil, 0o600))
	st, err := h.b.Statfs("/bind")
	h.ok(err)
	if st.Type != unix.EXT4_SUPER_MAGIC {
		t.Errorf("%#x", st.Type)
	}
	f, err := h.b.Open("/bind/docs/a", unix.O_RDONLY, 0)
	h.ok(err)
	h.is(unix.EBUSY, h.b.Unmount("/bind", 0))
	h.ok(f.SyncFS())
	if got := h.read("/proc/self/fdinfo/4"); !strings.Contains(got, "mnt_id:\t") {
		t.Error(got)
	}
	h.ok(f.Close())
	h.ok(h.b.Unmount("/bind", 0))
	h.is(unix.EINVAL, h.b.Unmount("/bind", 0))
	h.k.AddProcess(9, "sh", 0, "/home/user")
	h.is(unix.EBUSY, h.b.Unmount("/home", 0))
	h.ok(h.b.Chmod("/home/user", 0o700))
	h.ok(h.b.Mknod("/home/node", unix.S_IFBLK|0o600, vdb))
	st2, err := h.b.Stat("/home/node")
	h.ok(err)
	if st2.Rdev != vdb {
		t.Errorf("%v", st2.Rdev)
	}
}
