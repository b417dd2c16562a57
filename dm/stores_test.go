package dm

import (
	"context"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestStoresComeAndGo makes a set with each kind of store and removes it: the
// host is as it was, and in between the store is what was asked for.
func TestStoresComeAndGo(t *testing.T) {
	hostOnly(t)
	for spec, want := range map[string]string{
		"file:/home/.cow": "file /home/.cow",
		"file:/srv/.cow":  "file /srv/.cow",
		"file:/srv":       "file /srv/.dmsnap-",
		"auto":            "file /var/.dmsnap-", // as large as /srv, and comes first
		"ram":             "ram ",
		"ram:2m":          "ram ",
		"/dev/vdc":        "device /dev/vdc",
	} {
		h := newHost(t, ioctltest.Options{Udev: true})
		h.Fragment(7)
		h.elsewhere(t)
		before := h.Snapshot()
		if err := h.createIn(spec); err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		set, err := h.m.Show(context.Background(), "nightly")
		check(t, err)
		s := set.Volumes[0].Store
		if got := s.Kind + " " + s.Path; !strings.HasPrefix(got, want) || want == "ram " && s.Path != "" || s.SizeBytes != mib {
			t.Errorf("%s: the store is %q of %d bytes, want %q", spec, got, s.SizeBytes, want)
		}
		check(t, h.m.Remove(context.Background(), "nightly"))
		same(t, spec, before, h.Snapshot())
		h.healthy(t)
	}
}
