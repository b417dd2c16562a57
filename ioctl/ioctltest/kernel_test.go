package ioctltest_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"golang.org/x/sys/unix"
)

var (
	vdb = ioctl.DevNo{Major: 252, Minor: 16}
	vdc = ioctl.DevNo{Major: 252, Minor: 32}
)

const mib = 1 << 20

// host is a kernel with two disks and an LV on the first, mounted at /home.
type host struct {
	*testing.T
	k    *ioctltest.Kernel
	b    *ioctl.Kernel
	c    *ioctl.Control
	home ioctl.DevNo
}

func newHost(t *testing.T, opts ioctltest.Options) *host {
	t.Helper()
	k := ioctltest.New(opts)
	k.AddDisk("vdb", vdb, 16*mib)
	k.AddDisk("vdc", vdc, 16*mib)
	h := &host{T: t, k: k, b: k.Border()}
	h.home = k.AddDM("vg-home", "LVM-home", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:16 0"})
	k.Mount(h.home, "/home", "ext4")
	var err error
	h.c, err = h.b.OpenControl()
	h.ok(err)
	return h
}

func (h *host) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) is(want error, err error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Errorf("got %v, want %v", err, want)
	}
}

func (h *host) hangs(want int) {
	h.Helper()
	if got := h.k.Hangs(); len(got) != want {
		h.Errorf("hangs: %q, want %d", got, want)
	}
}

func (h *host) read(path string) string {
	h.Helper()
	b, err := h.b.ReadFile(path)
	h.ok(err)
	return string(b)
}

// make makes a device with a live table through the border.
func (h *host) make(name string, ev ioctl.Event, length uint64, typ, params string) ioctl.DevNo {
	h.Helper()
	info, err := h.c.Create(name, "", 0, ioctl.DevNo{})
	h.ok(err)
	h.ok(h.c.Load(ioctl.ID{Name: name}, 0, []ioctl.Spec{{Length: length, Type: typ, Params: params}}))
	_, err = h.c.Resume(ioctl.ID{Name: name}, 0, ev)
	h.ok(err)
	return info.Dev
}

// snapshot puts vg-home under a front with one image, in the right order or
// without the last step.
func (h *host) snapshot(whole bool) (image ioctl.DevNo) {
	h.Helper()
	home := ioctl.ID{Name: "vg-home"}
	base := h.make("base", ioctl.Event{}, 16384, "linear", "252:16 0")
	info, err := h.c.Create("image", "", 0, ioctl.DevNo{})
	h.ok(err)
	h.ok(h.c.Load(ioctl.ID{Name: "image"}, 0, []ioctl.Spec{{Length: 16384, Type: "snapshot", Params: base.String() + " 252:32 P 16"}}))
	h.ok(h.c.Load(home, 0, []ioctl.Spec{{Length: 16384, Type: "snapshot-origin", Params: base.String()}}))
	if !whole {
		_, err = h.c.Resume(home, 0, ioctl.Event{})
		h.ok(err)
	}
	_, err = h.c.Suspend(home, 0)
	h.ok(err)
	if whole {
		_, err = h.c.Resume(ioctl.ID{Name: "image"}, 0, ioctl.Event{})
		h.ok(err)
	}
	_, err = h.c.Resume(home, 0, ioctl.Event{})
	h.ok(err)
	if !whole {
		_, err = h.c.Resume(ioctl.ID{Name: "image"}, 0, ioctl.Event{})
		h.ok(err)
	}
	return info.Dev
}

func TestProtected(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.ok(h.k.Write(h.home, mib, []byte("old")))
	image := h.snapshot(true)
	h.ok(h.k.Protected("image"))
	if !h.k.CutClean("image") {
		t.Error("the filesystem was frozen, and the cut is not clean")
	}
	h.ok(h.k.Write(h.home, mib, []byte("new")))
	got := make([]byte, 3)
	h.ok(h.k.Read(image, mib, got))
	if string(got) != "old" {
		t.Errorf("image has %q", got)
	}
	h.k.Reload("vg-home", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:16 0"})
	if err := h.k.Protected("image"); err == nil || !strings.Contains(err.Error(), "rule A") {
		t.Errorf("after a reload behind our back: %v", err)
	}
	h.hangs(0)
}

func TestNotProtected(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.snapshot(false)
	if err := h.k.Protected("image"); err == nil || !strings.Contains(err.Error(), "rule B") {
		t.Errorf("origin not resumed last: %v", err)
	}
	if h.k.CutClean("image") {
		t.Error("the cut is clean, and nothing was frozen")
	}
	if h.k.Protected("vg-home") == nil || h.k.Protected("absent") == nil {
		t.Error("no image, and protected")
	}
}

// TestChained: an image may read through a newer one.
func TestChained(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	image := h.snapshot(true)
	h.k.AddDisk("vdd", ioctl.DevNo{Major: 252, Minor: 48}, mib)
	h.make("older", ioctl.Event{}, 16384, "snapshot", image.String()+" 252:48 P 16")
	h.ok(h.k.Protected("older"))
	h.k.Invalidate("image")
	if h.k.Protected("older") == nil {
		t.Error("protected by an image that is invalid")
	}
}

func TestSnapshotStates(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.snapshot(true)
	status := func() string {
		_, specs, err := h.c.TargetStatus(ioctl.ID{Name: "image"}, 0)
		h.ok(err)
		return specs[0].Params
	}
	h.k.Fill("image", 100)
	if got := status(); got != "1600/32768 32" {
		t.Errorf("filled: %s", got)
	}
	h.k.Overflow("image")
	if got := status(); got != "Overflow" {
		t.Error(got)
	}
	h.k.Fill("image", 3000)
	if got := status(); got != "Invalid" {
		t.Error(got)
	}
	if h.k.OldExceptions("image") {
		t.Error("a new store with old exceptions")
	}
}

func TestMergeInSteps(t *testing.T) {
	h := newHost(t, ioctltest.Options{MergeStep: 2})
	h.snapshot(true)
	h.k.Fill("image", 7)
	_, err := h.c.Suspend(ioctl.ID{Name: "image"}, 0)
	h.ok(err)
	_, spec, err := h.c.Table(ioctl.ID{Name: "image"}, 0)
	h.ok(err)
	h.k.Reload("vg-home", ioctltest.Row{Length: 16384, Type: "snapshot-merge", Params: spec[0].Params})
	for _, want := range []string{"80/32768 32", "48/32768 32", "32/32768 32", "32/32768 32"} {
		_, specs, err := h.c.TargetStatus(ioctl.ID{Name: "vg-home"}, 0)
		h.ok(err)
		if specs[0].Params != want {
			t.Errorf("got %s, want %s", specs[0].Params, want)
		}
	}
}

// TestEveryCallFails: whatever call fails, state is what it was, and nothing
// hangs.
func TestEveryCallFails(t *testing.T) {
	work := func(b *ioctl.Kernel) error {
		c, err := b.OpenControl()
		if err != nil {
			return err
		}
		_, err = c.Status(ioctl.ID{Name: "vg-home"})
		return errors.Join(err, c.Close())
	}
	h := newHost(t, ioctltest.Options{})
	h.ok(h.c.Close())
	before, first := h.k.Snapshot(), h.k.Calls()
	h.ok(work(h.b))
	for n := range h.k.Calls() - first {
		at := h.k.Calls() + n + 1
		h.k.Fail(func(c ioctltest.Call) error {
			if c.N == at {
				return unix.EIO
			}
			return nil
		})
		h.is(unix.EIO, work(h.b))
		if got := h.k.Snapshot(); got != before {
			t.Errorf("call %d failed: state\n%s\nwas\n%s", n, got, before)
		}
	}
	h.k.Fail(nil)
	h.ok(work(h.b))
	h.hangs(0)
}

func TestLogNamesRequests(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	_, err := h.c.Suspend(ioctl.ID{UUID: "LVM-home"}, ioctl.SkipLockFS)
	h.ok(err)
	_, err = h.c.Resume(ioctl.ID{Dev: h.home}, 0, ioctl.Event{})
	h.ok(err)
	log := h.k.Log()
	for i, want := range []string{"DM_DEV_SUSPEND", "DM_DEV_RESUME"} {
		c := log[len(log)-2+i]
		if c.Op != "ioctl" || c.Request != want || c.Name != "vg-home" || c.Path != "/dev/mapper/control" || c.N != len(log)-1+i {
			t.Errorf("%+v", c)
		}
	}
}

func TestHangs(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	home, err := h.b.Open("/home", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	h.ok(err)
	h.ok(h.b.WriteFile("/home/a", []byte("x"), 0o600))
	dev, err := h.b.Open("/dev/mapper/vg-home", unix.O_RDWR, 0)
	h.ok(err)

	h.ok(home.Freeze())
	h.is(unix.EDEADLK, h.b.WriteFile("/home/b", nil, 0o600))
	h.is(unix.EDEADLK, h.b.WriteFile("/home/a", []byte("y"), 0o600))
	h.is(unix.EDEADLK, h.b.Mkdir("/home/d", 0o700))
	h.is(unix.EDEADLK, h.b.Rename("/home/a", "/home/c"))
	h.is(unix.EDEADLK, h.b.Unlink("/home/a"))
	h.hangs(5)
	f, err := h.b.Open("/home/a", unix.O_RDWR, 0)
	h.ok(err)
	h.ok(f.Close())
	if h.read("/home/a") != "x" {
		t.Error("a frozen file cannot be read")
	}
	h.hangs(5)

	h.k.Suspend("vg-home", true)
	h.is(unix.EDEADLK, home.Thaw())
	_, err = dev.WriteAt(make([]byte, 512), 0)
	h.is(unix.EDEADLK, err)
	_, err = dev.ReadAt(make([]byte, 512), 0)
	h.is(unix.EDEADLK, err)
	_, err = h.b.ReadFile("/home/a")
	h.is(unix.EDEADLK, err)
	h.hangs(9)
	h.k.Suspend("vg-home", false)
	h.ok(home.Thaw())
	h.hangs(9)
}

func TestEraOnSuspend(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	dev := h.make("era", ioctl.Event{}, 16384, "era", "252:32 "+h.k.AddDM("low", "", ioctltest.Row{Length: 16384, Type: "zero"}).String()+" 64")
	h.ok(h.k.Write(dev, 64*512, []byte{1}))
	if h.k.EraWritten(vdc, 1) != 1 || h.k.EraWritten(vdc, 0) != 0 {
		t.Error("writes are not marked")
	}
	h.is(unix.EDEADLK, h.c.Load(ioctl.ID{Name: "era"}, 0, []ioctl.Spec{{Length: 16384, Type: "era", Params: "252:32 252:16 64"}}))
	h.k.Suspend("era", true)
	_, _, err := h.c.TargetStatus(ioctl.ID{Name: "era"}, 0)
	h.is(unix.EDEADLK, err)
	_, err = h.c.Message(ioctl.ID{Name: "era"}, 0, "checkpoint")
	h.is(unix.EDEADLK, err)
	_, _, err = h.c.Table(ioctl.ID{Name: "era"}, 0)
	h.ok(err)
	_, err = h.c.Status(ioctl.ID{Name: "era"})
	h.ok(err)
	h.hangs(3)
}

func TestUdev(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	if !h.b.UdevRunning() {
		t.Fatal("no udev")
	}
	before := h.k.Snapshot()
	cookie, err := h.b.NewCookie()
	h.ok(err)
	event := func(flags ioctl.UdevFlags) ioctl.Event {
		ev, err := cookie.Event(flags)
		h.ok(err)
		return ev
	}
	dev := h.make("seen", event(0), 8, "zero", "")
	h.make("hidden", event(ioctl.DisableDMRules), 8, "zero", "")
	link, err := h.b.Readlink("/dev/mapper/seen")
	h.ok(err)
	if want := "../dm-" + strings.TrimPrefix(dev.String(), "254:"); link != want {
		t.Errorf("link %q, want %q", link, want)
	}
	_, err = h.b.Lstat("/dev/mapper/hidden")
	h.is(fs.ErrNotExist, err)
	_, err = h.c.Rename("seen", "moved", event(0))
	h.ok(err)
	_, err = h.b.Lstat("/dev/mapper/seen")
	h.is(fs.ErrNotExist, err)
	for _, name := range []string{"moved", "hidden"} {
		_, err = h.c.Remove(ioctl.ID{Name: name}, 0, event(0))
		h.ok(err)
	}
	h.ok(cookie.Wait(time.Second))
	if after := h.k.Snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestNoUdev(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	if h.b.UdevRunning() {
		t.Error("udev runs")
	}
	cookie, err := h.b.NewCookie()
	h.ok(err)
	ev, err := cookie.Event(0)
	h.ok(err)
	h.make("seen", ev, 8, "zero", "")
	_, err = h.b.Lstat("/dev/mapper/seen")
	h.is(fs.ErrNotExist, err)
	h.is(ioctl.ErrUdevTimeout, cookie.Wait(time.Hour))
	if strings.Contains(h.k.Snapshot(), "sem ") {
		t.Error("the semaphore is still there")
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

func TestHelpersUndo(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	before := h.k.Snapshot()
	release := h.k.Hold(h.home)
	h.k.Freeze("/home", true)
	h.k.AddProcess(7, "cat", 0, "/dev/vdb")
	if h.k.Snapshot() == before {
		t.Error("nothing changed")
	}
	release()
	h.k.Freeze("/home", false)
	h.k.RemoveProcess(7)
	if after := h.k.Snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestWholeDiskAndPartition(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.k.AddDisk("vda", ioctl.DevNo{Major: 252}, 16*mib, ioctltest.Partition(1, mib, 8*mib))
	h.ok(h.k.Write(ioctl.DevNo{Major: 252, Minor: 1}, 0, []byte("part")))
	got := make([]byte, 4)
	h.ok(h.k.Read(ioctl.DevNo{Major: 252}, mib, got))
	if !bytes.Equal(got, []byte("part")) {
		t.Errorf("%q", got)
	}
	h.make("whole", ioctl.Event{}, 8, "linear", "252:0 0")
	_, err := h.c.Create("part", "", 0, ioctl.DevNo{})
	h.ok(err)
	h.is(unix.EBUSY, h.c.Load(ioctl.ID{Name: "part"}, 0, []ioctl.Spec{{Length: 8, Type: "linear", Params: "252:1 0"}}))
}

func TestReboot(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.ok(h.b.WriteFile("/var/lib/state", []byte("kept"), 0o600))
	h.ok(h.b.WriteFile("/home/file", []byte("kept"), 0o600))
	h.ok(h.b.WriteFile("/run/state", []byte("lost"), 0o600))
	boot := h.read("/proc/sys/kernel/random/boot_id")
	h.snapshot(true)
	h.ok(h.k.Write(h.home, mib, []byte("data")))
	h.k.Freeze("/home", true)
	h.k.Reboot()

	if got := h.read("/var/lib/state"); got != "kept" {
		t.Error(got)
	}
	if h.read("/proc/sys/kernel/random/boot_id") == boot {
		t.Error("the same boot id")
	}
	_, err := h.b.Stat("/run/state")
	h.is(fs.ErrNotExist, err)
	h.home = h.k.AddDM("vg-home", "LVM-home", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:16 0"})
	got := make([]byte, 4)
	h.ok(h.k.Read(h.home, mib, got))
	if string(got) != "data" {
		t.Errorf("%q", got)
	}
	h.k.Mount(h.home, "/home", "ext4")
	if got := h.read("/home/file"); got != "kept" {
		t.Error(got)
	}
}

func TestWaitAndInterrupt(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	done := make(chan error)
	wait := func() {
		_, _, err := h.c.Wait(ioctl.ID{Name: "vg-home"}, 0)
		done <- err
	}
	go wait()
	for h.k.Log()[h.k.Calls()-1].Request != "DM_DEV_WAIT" {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	h.k.Interrupt()
	h.is(unix.EINTR, <-done)
	go wait()
	time.Sleep(20 * time.Millisecond)
	_, err := h.c.Rename("vg-home", "vg-other", ioctl.Event{})
	h.ok(err)
	h.ok(<-done)
	h.ok(h.c.ArmPoll())
	ready, err := h.c.Poll(20 * time.Millisecond)
	h.ok(err)
	if ready {
		t.Error("ready without an event")
	}
}
