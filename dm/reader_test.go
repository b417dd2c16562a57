package dm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// reader opens the image of home in a set of home and var, after a write to the
// origin. It returns what home held at the cut.
func reader(t *testing.T, h *host) (*Reader, []byte) {
	t.Helper()
	check(t, h.Write(h.home, 4*mib, bytes.Repeat([]byte{1}, 256<<10)))
	past := make([]byte, 16*mib)
	check(t, h.Read(h.home, 0, past))
	h.create(t, both())
	check(t, h.Write(h.home, 4*mib, bytes.Repeat([]byte{2}, 256<<10)))
	r, err := h.m.OpenVolume(context.Background(), OpenRequest{Set: "nightly", Volume: "home"})
	check(t, err)
	return r, past
}

func TestReaderReadsThePast(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	r, want := reader(t, h)
	if r.Size() != 16*mib || r.Volume().Name != "home" {
		t.Errorf("%d bytes of %s", r.Size(), r.Volume().Name)
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Error("the reader does not give what the origin had at the cut")
	}
	tail := make([]byte, 100)
	if n, err := r.ReadAt(tail, r.Size()-10); n != 10 || err != io.EOF {
		t.Errorf("at the end: %d bytes, %v, want 10 and EOF", n, err)
	}
	if err := h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}); !errors.Is(err, ErrBusy) {
		t.Errorf("removed under an open reader: %v", err)
	}
	check(t, r.Close())
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	h.healthy(t)
}

// TestReaderByOrigin: a volume is found by what its origin was called, is called, or
// was mounted on.
func TestReaderByOrigin(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, CreateRequest{
		Name: "nightly", Origins: []string{"/home", "/dev/mapper/../mapper/var"}, Stores: map[string]string{"/home": "/dev/vdc", "/dev/mapper/../mapper/var": "/dev/vdd"},
	})
	for called, want := range map[string]string{
		"/home": "home", "/dev/mapper/home": "home", "home": "home", "var": "var", "/var": "var", "/dev/mapper/../mapper/var": "var",
	} {
		r, err := h.m.OpenVolume(h.ctx, OpenRequest{Set: "nightly", Volume: called})
		check(t, err)
		if r.Volume().Name != want {
			t.Errorf("%s is %s, want %s", called, r.Volume().Name, want)
		}
		check(t, r.Close())
	}
	if _, err := h.m.OpenVolume(h.ctx, OpenRequest{Set: "nightly", Volume: "/srv"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another's mount point: %v", err)
	}
	if _, err := h.m.PlanExtend(h.ctx, ExtendRequest{Name: "nightly", Size: Size{Bytes: 4 * mib}, Volumes: []string{"/srv"}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("extend of another's mount point: %v", err)
	}
}

// TestReaderDirect reads past the page cache, from any offset, any length.
func TestReaderDirect(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	cached, want := reader(t, h)
	check(t, cached.Close())
	open := func(direct bool) *Reader {
		r, err := h.m.OpenVolume(h.ctx, OpenRequest{Set: "nightly", Volume: "home", Direct: direct})
		check(t, err)
		return r
	}
	r := open(true)
	f, err := h.Border().Open("/dev/mapper/dmsnap-nightly-home", unix.O_RDONLY|unix.O_DIRECT, 0)
	check(t, err)
	if _, err := f.ReadAt(make([]byte, 100), 1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the kernel takes any direct read: %v", err) // then this test would show nothing
	}
	check(t, f.Close())
	end := int64(len(want))
	for _, c := range []struct{ off, n int64 }{
		{0, 16 * mib}, {1, 100}, {4095, 2}, {4096, 4096}, {4*mib - 7, 3*mib + 13}, {end - 512, 512}, {end - 10, 10}, {end - mib - 1, mib + 1},
	} {
		got := make([]byte, c.n)
		if n, err := r.ReadAt(got, c.off); int64(n) != c.n || err != nil || !bytes.Equal(got, want[c.off:c.off+c.n]) {
			t.Errorf("%d bytes at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	for off, want := range map[int64]int{end - 10: 10, end: 0, end + 5000: 0} {
		if n, err := r.ReadAt(make([]byte, 100), off); n != want || err != io.EOF {
			t.Errorf("at the end: %d bytes, %v", n, err)
		}
	}
	check(t, r.Close())
	h.healthy(t)
}

// TestReaderClosed: what comes after Close says so; Close waits for reads.
func TestReaderClosed(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	r, _ := reader(t, h)
	if _, err := r.ReadAt(make([]byte, 1), -1); !errors.Is(err, ErrUsage) {
		t.Errorf("a negative offset: %v", err)
	}
	conn, err := r.SyscallConn()
	check(t, err)
	var fd uintptr
	check(t, conn.Control(func(at uintptr) { fd = at }))
	if int(fd) != r.file.Fd() || conn.Write(func(uintptr) bool { return true }) == nil {
		t.Errorf("descriptor %d", fd)
	}
	reading, closed := make(chan bool), make(chan error)
	check(t, conn.Read(func(uintptr) bool {
		go func() {
			close(reading)
			closed <- r.Close()
		}()
		<-reading
		select {
		case <-closed:
			t.Error("closed while it is read")
		default:
		}
		return true
	}))
	check(t, <-closed)
	_, errRead := r.ReadAt(make([]byte, 1), 0)
	_, errConn := r.SyscallConn()
	for _, err := range []error{errRead, errConn, r.Check(), r.Close(), conn.Control(func(uintptr) { t.Error("called") })} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
}

// TestReaderTellsWhyItFails loses the image in several ways.
func TestReaderTellsWhyItFails(t *testing.T) {
	for want, c := range map[State]struct {
		spoil func(*host)
		code  Code
	}{
		StateInvalid: {func(h *host) { h.Invalidate("dmsnap-nightly-home") }, CodeNoSpace},
		// Every read still succeeds.
		StateBypassed: {func(h *host) { h.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"}) }, CodeNoSpace},
	} {
		t.Run(string(want), func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			r, _ := reader(t, h)
			check(t, r.Check())
			c.spoil(h)
			_, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
			state, ok := errors.AsType[*StateError](err)
			if !ok || state.State != want || state.Reason == "" || CodeOf(err) != c.code {
				t.Errorf("a copy of an image that is %s: %v (%s)", want, err, CodeOf(err))
			}
			if err := r.Check(); CodeOf(err) != c.code {
				t.Errorf("check: %v", err)
			}
			check(t, r.Close())
			if _, err := h.m.OpenVolume(context.Background(), OpenRequest{Set: "nightly", Volume: "home"}); CodeOf(err) != c.code {
				t.Errorf("opened again: %v", err)
			}
			h.healthy(t)
		})
	}
}

func TestReaderErrors(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	for name, c := range map[string]struct {
		set, volume string
		want        error
	}{
		"no set":       {"weekly", "", ErrNotFound},
		"no volume":    {"nightly", "opt", ErrNotFound},
		"which volume": {"nightly", "", ErrUsage},
	} {
		if _, err := h.m.OpenVolume(context.Background(), OpenRequest{Set: c.set, Volume: c.volume}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.m.OpenVolume(ctx, OpenRequest{Set: "nightly", Volume: "home"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r, err := h.m.OpenVolume(context.Background(), OpenRequest{Set: "nightly", Volume: "home"})
	check(t, err)
	h.Fail(func(c ioctltest.Call) error {
		if c.Op == "pread" && c.Path == r.file.Path() {
			return unix.EIO
		}
		return nil
	})
	_, err = r.ReadAt(make([]byte, 512), 0)
	if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, unix.EIO) || e.Op != "read" {
		t.Errorf("a bad disk under a good image: %v", err)
	}
	h.Fail(nil)
	check(t, r.Close())
}
