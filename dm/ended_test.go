package dm

import (
	"context"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestEndedSetsAreReported: what a persistent set of an earlier boot left on its
// store is found there by recover, and nothing is touched.
func TestEndedSetsAreReported(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.create(t, CreateRequest{
		Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, StoreSize: Size{Bytes: mib}, Persistent: true,
	})
	for i := range 4 {
		check(t, h.Write(h.home, uint64(i)*64<<10, make([]byte, 512)))
	}
	set, err := h.m.Show(context.Background(), "nightly")
	check(t, err)
	r, err := h.m.Recover(context.Background())
	check(t, err)
	if len(r.Ended) > 0 {
		t.Errorf("it is alive: %+v", r.Ended)
	}
	h.Reboot()
	for range 2 {
		if r, err = h.m.Recover(context.Background()); err != nil || len(r.Ended) != 1 {
			t.Fatalf("%+v: %v", r, err)
		}
		e := r.Ended[0]
		if !e.Valid || e.Reason != "" || e.Store != "/dev/vdc" || e.UsedBytes == nil || *e.UsedBytes != *set.Volumes[0].Store.UsedBytes {
			t.Errorf("%+v; it held %d bytes", e, *set.Volumes[0].Store.UsedBytes)
		}
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	if r, err = h.m.Recover(context.Background()); err != nil || len(r.Ended) > 0 {
		t.Errorf("%+v: %v", r, err)
	}
}

// TestEndedStoresThatSayNothing: a store that is not what it was is told of, and
// stops nothing.
func TestEndedStoresThatSayNothing(t *testing.T) {
	hostOnly(t)
	for name, row := range map[string]struct {
		store string
		spoil func(h *host)
		used  bool
	}{
		"full":   {"/dev/vdc", func(h *host) { flood(t, h) }, true},
		"memory": {"ram", func(*host) {}, false},
		"wiped":  {"/dev/vdc", func(h *host) { h.Reboot(); overwrite(t, h, "/dev/vdc") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{})
			h.create(t, CreateRequest{
				Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": row.store}, StoreSize: Size{Bytes: mib}, Persistent: true,
			})
			row.spoil(h)
			h.Reboot()
			r, err := h.m.Recover(context.Background())
			if err != nil || len(r.Ended) != 1 {
				t.Fatalf("%+v: %v", r, err)
			}
			if e := r.Ended[0]; e.Valid || e.Reason == "" || (e.UsedBytes != nil) != row.used {
				t.Errorf("%+v", e)
			}
		})
	}
}

// flood overflows every store of 1 MiB.
func flood(t *testing.T, h *host) {
	t.Helper()
	for i := range uint64(32) {
		check(t, h.Write(h.home, i*64<<10, make([]byte, 512)))
	}
}

func overwrite(t *testing.T, h *host, dev string) {
	t.Helper()
	f, err := h.Border().Open(dev, 2, 0)
	check(t, err)
	_, err = f.WriteAt(make([]byte, 8192), layout.Lead)
	check(t, err)
	check(t, f.Close())
}
