package dm

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// claim holds a device as a filesystem does whose mount nobody can see.
func (h *host) claim(t *testing.T, node string) {
	t.Helper()
	f, err := h.Border().Open(node, unix.O_RDONLY|unix.O_EXCL, 0)
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
}

func (h *host) receiptOf(t *testing.T, r CreateRequest) *Receipt {
	t.Helper()
	return h.create(t, r).Receipt
}

// TestUnseenUse: a device that is in use, though no filesystem was found on it, is
// not said to have been at rest, and neither is one that stands on an origin.
func TestUnseenUse(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		h := newHost(t, o)
		check(t, h.Border().Unmount("/home", 0))
		r := CreateRequest{Name: "nightly", Origins: []string{"/dev/mapper/home"}, Stores: map[string]string{"": "/dev/vdc"}}
		free := h.receiptOf(t, r)
		if free.Consistency != Unmounted || len(free.Unproven)+len(free.Doubts) > 0 {
			t.Errorf("at rest: %+v", free)
		}
		check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))

		h.claim(t, "/dev/mapper/home")
		held := h.receiptOf(t, r)
		if held.Consistency != Crash || len(held.Unproven) != 1 || held.Unproven[0] != "/dev/mapper/home" || len(held.Doubts) != 1 {
			t.Errorf("in use: %+v", held)
		}
		h.healthy(t)
	})
}

// TestUseBeganWithTheWindow: what comes into use after the last look is not said to
// have been at rest; what is at rest stays so on a plain device, too.
func TestUseBeganWithTheWindow(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	check(t, h.Border().Unmount("/home", 0))
	r := CreateRequest{Name: "nightly", Origins: []string{"/dev/mapper/home"}, Stores: map[string]string{"": "/dev/vdc"}}
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_SUSPEND" && c.Name == "home" {
			h.claim(t, "/dev/mapper/home")
		}
		return nil
	})
	set := h.receiptOf(t, r)
	h.Fail(nil)
	if set.Consistency != Crash || len(set.Doubts) != 1 {
		t.Errorf("in use since the window: %+v", set)
	}

	check(t, h.Border().Unmount("/data", 0))
	r = CreateRequest{Name: "plain", Origins: []string{"/dev/vdi1"}, Stores: map[string]string{"": "/dev/vdd"}}
	if set := h.receiptOf(t, r); set.Consistency != Unmounted {
		t.Errorf("a plain device at rest: %+v", set)
	}
}

func TestUnseenUseAbove(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	check(t, h.Border().Unmount("/home", 0))
	h.AddDM("upper", "CRYPT-upper", ioctltest.Row{Length: 32768, Type: "linear", Params: h.home.String() + " 0"})
	r := CreateRequest{Name: "nightly", Origins: []string{"/dev/mapper/home"}, Stores: map[string]string{"": "/dev/vdc"}}
	if free := h.receiptOf(t, r); free.Consistency != Unmounted {
		t.Errorf("a device above, not in use: %+v", free)
	}
	check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
	h.claim(t, "/dev/mapper/upper")
	if held := h.receiptOf(t, r); held.Consistency != Crash || held.Doubts[0].Device != "/dev/mapper/upper" {
		t.Errorf("a device above, in use: %+v", held)
	}
}

// TestOriginOnAnother: the base and the image that a create makes of the upper origin
// stand on the lower one, which another program did not put there.
func TestOriginOnAnother(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	check(t, h.Border().Unmount("/home", 0))
	upper := h.AddDM("upper", "CRYPT-upper", ioctltest.Row{Length: 32768, Type: "linear", Params: h.home.String() + " 0"})
	h.Mount(upper, "/home", "ext4")
	stores := map[string]string{"/dev/mapper/home": "/dev/vdc", "/dev/mapper/upper": "/dev/vdd"}
	for _, origins := range [][]string{{"/dev/mapper/home", "/dev/mapper/upper"}, {"/dev/mapper/upper", "/dev/mapper/home"}} {
		before := withoutStores(h.Snapshot())
		set := h.receiptOf(t, CreateRequest{Name: "nightly", Origins: origins, Stores: stores})
		if set.Consistency != Filesystem {
			t.Errorf("%v: %+v", origins, set)
		}
		check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
		same(t, "afterwards", before, withoutStores(h.Snapshot()))
	}
}

// TestUnreadableNamespace: what cannot be read matters only to a device that is in
// use, and is named then.
func TestUnreadableNamespace(t *testing.T) {
	const foreign = 4026532999
	h := newHost(t, ioctltest.Options{})
	check(t, h.Border().Unmount("/home", 0))
	h.AddProcess(4000077, "container", foreign)
	h.Mount(h.home, "/home", "ext4", ioctltest.MountIn(foreign))
	h.Fail(func(c ioctltest.Call) error {
		if c.Path == "/proc/4000077/mountinfo" {
			return unix.EACCES
		}
		return nil
	})
	var set *Set
	set, err := h.m.Create(h.ctx, CreateRequest{Name: "nightly", Origins: []string{"/dev/mapper/home", "/var"}, Stores: map[string]string{"/dev/mapper/home": "/dev/vdc", "/var": "/dev/vdd"}})
	check(t, err)
	r := set.Receipt
	if r.Consistency != Crash || len(r.Doubts) != 1 || !strings.Contains(r.Doubts[0].Reason, "cannot read the mounts of process 4000077") {
		t.Errorf("the container's filesystem: %+v", r)
	}
	if len(r.Frozen) != 1 || r.Frozen[0] != "/var" {
		t.Errorf("frozen %v", r.Frozen)
	}
	h.Fail(nil)
}

// TestAboveIsReadAgain: what is opened on an origin and mounted between prepare
// and cut keeps the cut from being taken, and so does what comes after the cut has
// begun.
func TestAboveIsReadAgain(t *testing.T) {
	open := func(h *host) {
		h.WriteFile("/opt/.keep", "")
		upper := h.AddDM("upper", "CRYPT-upper", ioctltest.Row{Length: 32768, Type: "linear", Params: h.home.String() + " 0"})
		h.Mount(upper, "/opt", "ext4")
	}
	request := CreateRequest{Name: "nightly", Origins: []string{"/dev/mapper/home"}, Stores: map[string]string{"": "/dev/vdc"}}
	for name, level := range map[string]Consistency{"freezing": "", "crash": Crash} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			check(t, h.Border().Unmount("/home", 0))
			r := request
			r.Consistency = level
			p := h.prepare(t, r)
			open(h)
			if set, err := p.Cut(h.ctx); !errors.Is(err, ErrBusy) {
				t.Errorf("%v: %+v", err, set)
			}
			if sets, err := h.m.List(h.ctx); err != nil || len(sets) != 0 {
				t.Errorf("sets %v, %v", sets, err)
			}
			h.healthy(t)
		})
	}
	t.Run("while a create gets ready", func(t *testing.T) {
		h := newHost(t, ioctltest.Options{Udev: true})
		check(t, h.Border().Unmount("/home", 0))
		opened := false
		h.Fail(func(c ioctltest.Call) error {
			if c.Request == "DM_TABLE_LOAD" && !opened {
				opened = true
				open(h)
			}
			return nil
		})
		_, err := h.m.Create(h.ctx, request)
		h.Fail(nil)
		if !opened || !errors.Is(err, ErrBusy) {
			t.Errorf("opened %v: %v", opened, err)
		}
	})
}

// memoryHost has its origins on memory that filesystems may map into programs.
func memoryHost(t *testing.T, fstype, options string) *host {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{})
	for i, name := range []string{"pmem0", "pmem1", "vdc", "vdd"} {
		k.AddDisk(name, ioctl.DevNo{Major: 252, Minor: uint32(16 * i)}, 16*mib, ioctltest.Attribute("queue/dax", map[bool]string{true: "1", false: "0"}[i < 2]))
	}
	h := mounted(t, k, ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"}, ioctltest.Row{Length: 32768, Type: "linear", Params: "252:16 0"})
	check(t, h.Border().Unmount("/home", 0))
	check(t, h.Border().Unmount("/var", 0))
	switch fstype {
	case "ext4":
		h.Mount(h.home, "/home", fstype, ioctltest.MountData(options))
	case "xfs":
		h.Mount(h.vard, "/var", fstype, ioctltest.MountData(options))
	}
	return h
}

// TestDirectAccess: an origin whose filesystem may let programs write past the
// device-mapper is refused, also when it is mounted only after the preparation.
func TestDirectAccess(t *testing.T) {
	r := CreateRequest{Name: "nightly", Origins: []string{"/dev/mapper/home", "/dev/mapper/var"}, Stores: map[string]string{"/dev/mapper/home": "/dev/vdc", "/dev/mapper/var": "/dev/vdd"}, Consistency: Crash}
	for _, tt := range []struct {
		fstype, options string
		refused         bool
	}{
		{"ext4", "dax", true},
		{"ext4", "dax=always", true},
		{"xfs", "", true}, // single files may use it
		{"xfs", "dax=inode", true},
		{"ext4", "dax=never", false},
		{"", "", false},
	} {
		h := memoryHost(t, tt.fstype, tt.options)
		_, err := h.m.Create(h.ctx, r)
		if refused := errors.Is(err, ErrUnsupported); refused != tt.refused || !refused && err != nil {
			t.Errorf("%s %q: %v", tt.fstype, tt.options, err)
		}
	}
	h := memoryHost(t, "", "")
	p := h.prepare(t, r)
	h.Mount(h.vard, "/var", "xfs", ioctltest.MountData("dax"))
	if _, err := p.Cut(h.ctx); !errors.Is(err, ErrUnsupported) {
		t.Errorf("mounted after the preparation: %v", err)
	}
	h = newHost(t, ioctltest.Options{})
	_, err := h.m.Create(h.ctx, both())
	check(t, err)
}
