package ioctltest_test

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
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
