package dm

import (
	"context"
	"errors"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestStoresGoRoundInNoCircle: what is written to raw may be copied to a file on home.
// So raw is no store for home, neither of a new set nor to go on with.
func TestStoresGoRoundInNoCircle(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.AddDisk("vdr", ioctl.DevNo{Major: 252, Minor: 256}, 16*mib)
	h.AddDM("raw", "LVM-raw", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:256 0"})
	h.create(t, CreateRequest{Name: "first", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, StoreSize: Size{Bytes: mib}})
	h.create(t, CreateRequest{Name: "raw", Origins: []string{"/dev/mapper/raw"}, Stores: map[string]string{"": "file:/home"}, StoreSize: Size{Bytes: mib}})
	before := withoutLocks(h.Snapshot())
	refused := func(what string, err error) {
		t.Helper()
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUsage || e.Hint == "" {
			t.Errorf("%s: %v", what, err)
		}
		same(t, what, before, withoutLocks(h.Snapshot()))
	}
	refused("create", h.createIn("/dev/mapper/raw"))
	_, err := h.m.Extend(context.Background(), ExtendRequest{Name: "first", Size: Size{Bytes: 20 * mib}, Store: "/dev/mapper/raw"})
	refused("extend", err)
}
