package dm

import (
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// beside mounts the roomiest filesystem there is, on a disk of some kind.
func (h *host) beside(name string, attributes ...ioctltest.DiskOption) {
	no := ioctl.DevNo{Major: 252, Minor: 64}
	h.AddDisk(name, no, 64*mib, attributes...)
	h.Mount(no, "/srv", "ext4")
}

// TestAutoPassesOver: what may hang or is slow is not chosen by itself, is said to
// have been passed over, and is taken when it is named.
func TestAutoPassesOver(t *testing.T) {
	for name, tt := range map[string]struct {
		disk   string
		kind   []ioctltest.DiskOption
		reason string
	}{
		"usual":     {"sdx", []ioctltest.DiskOption{ioctltest.Attribute("device/timeout", "30")}, ""},
		"removable": {"sdx", []ioctltest.DiskOption{ioctltest.Attribute("removable", "1")}, "removable"},
		"network":   {"nbd0", nil, "on the network"},
		"ceph":      {"rbd0", nil, "on the network"},
		"rotating":  {"sdx", []ioctltest.DiskOption{ioctltest.Attribute("queue/rotational", "1")}, "rotating"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{})
			h.beside(tt.disk, tt.kind...)
			r := CreateRequest{Name: "nightly", Origins: []string{"/home"}, StoreSize: Size{Bytes: mib}}
			set := h.create(t, r)
			st := set.Receipt.Stores[0]
			if chosen := strings.HasPrefix(st.Path, "/srv/"); chosen != (tt.reason == "") {
				t.Errorf("chosen: %+v", st)
			}
			if tt.reason != "" && (!strings.Contains(st.Why, "/srv") || !strings.Contains(st.Why, tt.reason)) {
				t.Errorf("it is not said why: %+v", st)
			}
			check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
			r.Stores = map[string]string{"": "file:/srv"}
			if set := h.create(t, r); set.Receipt.Media[0].Disk != tt.disk {
				t.Errorf("media %+v", set.Receipt.Media)
			}
		})
	}
}

// TestMediaTimeouts: what the driver says, and nothing where it says nothing.
func TestMediaTimeouts(t *testing.T) {
	for value, want := range map[string]float64{"": -1, "30": 30, "4294967295": 0} {
		h := newHost(t, ioctltest.Options{})
		var kind []ioctltest.DiskOption
		if value != "" {
			kind = append(kind, ioctltest.Attribute("device/timeout", value))
		}
		h.beside("sdx", kind...)
		set := h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, StoreSize: Size{Bytes: mib}, Stores: map[string]string{"": "file:/srv"}})
		got := -1.0
		if limit := set.Receipt.Media[0].IOTimeout; limit != nil {
			got = limit.Seconds()
		}
		if got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
		report, err := h.m.Doctor(h.ctx)
		check(t, err)
		if len(report.Media) != 1 || report.Media[0].Disk != "sdx" || (report.Media[0].IOTimeout == nil) != (want < 0) {
			t.Errorf("doctor: %+v", report.Media)
		}
		check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
		if set := h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, StoreSize: Size{Bytes: mib}}); want == 0 && !strings.Contains(set.Receipt.Stores[0].Why, "no I/O timeout") {
			t.Errorf("chosen without a timeout: %+v", set.Receipt.Stores)
		}
	}
}
