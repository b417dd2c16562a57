package dm

import (
	"bytes"
	"context"
	"errors"
	"io"
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
	r, err := h.m.OpenVolume(context.Background(), "nightly", "home")
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
			if _, err := h.m.OpenVolume(context.Background(), "nightly", "home"); CodeOf(err) != c.code {
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
		if _, err := h.m.OpenVolume(context.Background(), c.set, c.volume); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.m.OpenVolume(ctx, "nightly", "home"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r, err := h.m.OpenVolume(context.Background(), "nightly", "home")
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
