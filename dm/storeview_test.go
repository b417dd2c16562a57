package dm

import (
	"context"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestShowReadsTheStore: what a persistent store holds is known from its medium
// when the kernel does not say it any more, and is what the kernel said last.
func TestShowReadsTheStore(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.create(t, CreateRequest{
		Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, StoreSize: Size{Bytes: mib}, Persistent: true,
	})
	var last Store
	for i := range 32 { // 16 chunks, of which the header and the area take two
		check(t, h.Write(h.home, uint64(i)*64<<10, make([]byte, 512)))
		set, err := h.m.Show(context.Background(), "nightly")
		check(t, err)
		s := set.Volumes[0].Store
		if s.UsedBytes == nil || s.MetadataBytes == nil {
			t.Fatalf("%s after %d chunks: %+v", set.State, i, s)
		}
		if set.State == StateActive {
			last = s
			continue
		}
		if *s.UsedBytes != *last.UsedBytes || *s.MetadataBytes != *last.MetadataBytes {
			t.Errorf("%s: used %d, metadata %d; the kernel said %d and %d", set.State, *s.UsedBytes, *s.MetadataBytes, *last.UsedBytes, *last.MetadataBytes)
		}
		return
	}
	t.Error("the store did not fill")
}
