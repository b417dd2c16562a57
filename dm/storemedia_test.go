package dm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

var vdc = ioctl.DevNo{Major: 252, Minor: 32}

// one cuts home with its store on a disk.
func one() CreateRequest {
	return CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, StoreSize: Size{Bytes: mib}}
}

// labelOn reads a label of a disk.
func (h *host) labelOn(t *testing.T, dev ioctl.DevNo, at uint64) (layout.Label, error) {
	t.Helper()
	b := make([]byte, layout.Align)
	check(t, h.Read(dev, at, b))
	l, _, err := layout.Decode(b)
	return l, err
}

// blank expects a disk without a label at either end.
func (h *host) blank(t *testing.T, what string, dev ioctl.DevNo) {
	t.Helper()
	for _, at := range []uint64{0, 17 * mib} {
		if l, err := h.labelOn(t, dev, at); !errors.Is(err, layout.ErrNone) {
			t.Errorf("%s: at %d the disk carries %+v, %v", what, at, l, err)
		}
	}
}

// reboot has home again after it.
func (h *host) reboot() {
	h.Reboot()
	h.home = h.AddDM("home", "LVM-home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"})
	h.Mount(h.home, "/home", "ext4")
}

// TestStoreIsLabelled at both ends, with what was there gone, and no chunk of the
// origin lies where anybody looks for a signature.
func TestStoreIsLabelled(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	check(t, h.Write(h.home, 0, []byte("XFSB")))
	check(t, h.Write(vdc, 64<<10, []byte("old")))
	check(t, h.Write(vdc, 18*mib-512, []byte("old")))
	set := h.create(t, one())
	check(t, h.Write(h.home, 0, []byte("data")))
	for at, c := range map[uint64]layout.Copy{0: layout.InLead, 17 * mib: layout.InTail} {
		l, err := h.labelOn(t, vdc, at)
		want := layout.Label{ID: set.UUID, Set: "nightly", VolumeName: "home", Kind: layout.Device, Medium: 18 * mib}
		if err != nil || l != want {
			t.Errorf("copy %d: %+v, %v", c, l, err)
		}
	}
	ends := make([]byte, mib-layout.Align)
	for _, at := range []uint64{layout.Align, 17*mib + layout.Align} {
		check(t, h.Read(vdc, at, ends))
		if strings.Trim(string(ends), "\x00") != "" {
			t.Errorf("at %d something is left of what was there, or was copied there", at)
		}
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	h.blank(t, "removed", vdc)
}

// TestEndedStoreIsNamed: after a reboot a device says which set it served. Removing
// that frees it.
func TestEndedStoreIsNamed(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.create(t, one())
	h.reboot()
	r := one()
	r.Name = "next"
	if _, err := h.m.Create(context.Background(), r); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "volume home of set nightly") {
		t.Errorf("a create over it: %v", err)
	}
	check(t, h.Write(vdc, 0, make([]byte, 512))) // the tail is enough
	if _, err := h.m.Create(context.Background(), r); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "volume home of set nightly") {
		t.Errorf("a create over what is left of it: %v", err)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	h.blank(t, "removed", vdc)
	h.create(t, r)
}

// TestOthersLabelStays: what has another set's label by now is not touched, nor what
// somebody wrote behind one.
func TestOthersLabelStays(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.create(t, one())
	h.reboot()
	check(t, h.Write(vdc, layout.Align, []byte("somebody's")))
	r := one()
	r.Name, r.Stores = "next", map[string]string{"": "/dev/vdd"}
	h.create(t, r)
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	b := make([]byte, 10)
	check(t, h.Read(vdc, layout.Align, b))
	if string(b) != "somebody's" {
		t.Errorf("what was written over the lead became %q", b)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "next"}))

	h.create(t, one())
	h.reboot()
	r.Stores, r.ForceStore = map[string]string{"": "/dev/vdc"}, true
	set := h.create(t, r)
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	if l, err := h.labelOn(t, vdc, 0); err != nil || l.ID != set.UUID {
		t.Errorf("the label of the set that is there: %+v, %v", l, err)
	}
}

// TestDeviceThatGrew: a store goes on up to the new tail of a device that became
// larger, which is written first; the old one is gone at the end.
func TestDeviceThatGrew(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	cow := h.AddDM("cow", "", ioctltest.Row{Length: 8192, Type: "linear", Params: "252:48 0"})
	r := one()
	r.Stores, r.StoreSize = map[string]string{"": "/dev/mapper/cow"}, Size{}
	h.create(t, r)
	h.Reload("cow", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:48 0"})
	set, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: 6 * mib}})
	check(t, err)
	if s := set.Volumes[0].Store; s.SizeBytes != 6*mib || set.State != StateActive {
		t.Errorf("%+v, %s", s, set.State)
	}
	for _, at := range []uint64{0, 7 * mib} {
		if l, err := h.labelOn(t, cow, at); err != nil || l.Medium != 8*mib || l.ID != set.UUID {
			t.Errorf("at %d: %+v, %v", at, l, err)
		}
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	for _, at := range []uint64{0, 7 * mib} {
		if _, err := h.labelOn(t, cow, at); !errors.Is(err, layout.ErrNone) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

// TestStoreOfAnOlderRelease begins where its device does: it grows up to the
// device's end, is wiped, and nothing of its device is taken for a label's place.
func TestStoreOfAnOlderRelease(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.create(t, one())
	for _, at := range []uint64{0, 17 * mib} {
		check(t, h.Write(vdc, at, make([]byte, layout.Align)))
	}
	h.Reload("dmsnap-store-nightly-home", ioctltest.Row{Length: 2048, Type: "linear", Params: "252:32 0"})
	record, err := h.m.state.LoadSet("nightly")
	check(t, err)
	record.Volumes[0].StoreLead = 0
	check(t, h.m.state.SaveSet(record))
	h.fill(t, 0, 5)
	set, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Percent: 100}})
	check(t, err)
	if size := set.Volumes[0].Store.SizeBytes; size < 16*mib {
		t.Errorf("it has %d bytes", size)
	}
	check(t, h.Write(vdc, 17*mib+mib/2, []byte("beyond it"))) // not wiped: no tail
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	head := make([]byte, mib)
	check(t, h.Read(vdc, 0, head))
	if strings.Trim(string(head), "\x00") != "" {
		t.Error("old chunks are left at its beginning")
	}
}
