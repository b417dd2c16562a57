package dm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestStoresComeAndGo makes a set with each kind of store and removes it: the
// host is as it was, and in between the store is what was asked for.
func TestStoresComeAndGo(t *testing.T) {
	hostOnly(t)
	for spec, want := range map[string]string{
		"file:/home/.cow": "file /home/.cow",
		"file:/srv/.cow":  "file /srv/.cow",
		"file:/srv":       "file /srv/.dmsnap/",
		"auto":            "file /var/.dmsnap/", // as large as /srv, and comes first
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
		if got := string(s.Kind) + " " + s.Path; !strings.HasPrefix(got, want) || want == "ram " && s.Path != "" || s.SizeBytes != mib {
			t.Errorf("%s: the store is %q of %d bytes, want %q", spec, got, s.SizeBytes, want)
		}
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		same(t, spec, before, h.Snapshot())
		h.healthy(t)
	}
}

// lose is somebody with root's rights at a store's file.
func (h *host) lose(t *testing.T, path string, how func(*ioctl.File) error) {
	t.Helper()
	f, err := h.Border().Open(path, unix.O_RDONLY, 0)
	check(t, err)
	flags, err := f.GetFlags()
	check(t, err)
	if flags&(ioctl.FlagImmutable|ioctl.FlagAppend) == 0 || flags&ioctl.FlagNoDump == 0 {
		t.Errorf("%s has flags %#x: it is not pinned, or not left out of backups", path, flags)
	}
	if err := h.Border().Unlink(path); !errors.Is(err, unix.EPERM) {
		t.Errorf("%s can be removed: %v", path, err)
	}
	check(t, f.SetFlags(0))
	check(t, f.Close())
	f, err = h.Border().Open(path, unix.O_RDWR, 0)
	check(t, err)
	check(t, errors.Join(how(f), f.Close()))
}

// TestChangedFileIsNoticed: a file whose pin root took away, and that was changed
// then, is told of, and does not keep the set from going. What lies where its
// blocks were is not written to any more.
func TestChangedFileIsNoticed(t *testing.T) {
	hostOnly(t)
	for name, row := range map[string]struct {
		spec, says string
		how        func(h *host) func(*ioctl.File) error
		stays      bool
	}{
		"moved": {"file:/home/.cow", "moved to other blocks", func(h *host) func(*ioctl.File) error {
			return func(*ioctl.File) error { h.Relocate("/home/.cow"); return nil }
		}, true},
		"removed": {"file:/home/.cow", "was deleted", func(h *host) func(*ioctl.File) error {
			return func(*ioctl.File) error { return h.Border().Unlink("/home/.cow") }
		}, false},
		"cut short": {"file:/home/.cow", "truncated", func(*host) func(*ioctl.File) error {
			return func(f *ioctl.File) error { return f.Truncate(4096) }
		}, true},
		"cut short elsewhere": {"file:/srv/.cow", "truncated", func(*host) func(*ioctl.File) error {
			return func(f *ioctl.File) error { return f.Truncate(4096) }
		}, true},
	} {
		h := newHost(t, ioctltest.Options{})
		h.elsewhere(t)
		before := h.Snapshot()
		check(t, h.createIn(row.spec))
		h.lose(t, strings.TrimPrefix(row.spec, "file:"), row.how(h))
		set, err := h.m.Show(context.Background(), "nightly")
		check(t, err)
		if v := set.Volumes[0]; v.State != StateBroken || !strings.Contains(v.Reason, row.says) {
			t.Errorf("%s: %s because %q", name, v.State, v.Reason)
		}
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		if row.stays { // without its mark it could be anybody's
			check(t, h.Border().Unlink(strings.TrimPrefix(row.spec, "file:")))
		}
		same(t, name, before, h.Snapshot())
	}
}

// TestLostState: with the state directory gone the kernel's tables and the names
// of files lead to everything that is to be removed. What is left over is named.
func TestLostState(t *testing.T) {
	hostOnly(t)
	for _, spec := range []string{"file:/home", "file:/srv", "file:/srv/cow", "ram"} {
		h := newHost(t, ioctltest.Options{})
		h.elsewhere(t)
		check(t, h.createIn(spec))
		next := New(h.m.opts)
		next.opts.StateDir, next.state.Path = "/state2", "/state2"
		sets, err := next.List(context.Background())
		check(t, err)
		if len(sets) != 1 || sets[0].Name != "nightly" || sets[0].Volumes[0].Store.Kind != StoreKind(strings.SplitN(spec, ":", 2)[0]) {
			t.Fatalf("%s: %+v", spec, sets)
		}
		check(t, next.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		r, err := next.Recover(context.Background())
		check(t, err)
		for l := range strings.Lines(h.Snapshot()) {
			if strings.Contains(l, "DMSNAP") || strings.Contains(l, "dmsnap-") || strings.Contains(l, "cow") || strings.HasPrefix(l, "disk loop") {
				t.Errorf("%s: left over: %s", spec, l)
			}
		}
		if len(r.Left) > 0 {
			t.Errorf("%s: %v", spec, r.Left)
		}
		h.healthy(t)
	}
	h := newHost(t, ioctltest.Options{})
	h.WriteFile("/home/.dmsnap-0123.0", "")
	r, err := h.m.Recover(context.Background())
	check(t, err)
	if len(r.Left) != 1 || r.Left[0] != "/home/.dmsnap-0123.0" {
		t.Errorf("left: %v", r.Left)
	}
}
