package ioctltest_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func TestProtected(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.ok(h.k.Write(h.home, mib, []byte("old")))
	image := h.snapshot(true)
	h.ok(h.k.Protected("image"))
	if !h.k.CutClean("image") {
		t.Error("the filesystem was frozen, and the cut is not clean")
	}
	h.ok(h.k.Write(h.home, mib, []byte("new")))
	got := make([]byte, 3)
	h.ok(h.k.Read(image, mib, got))
	if string(got) != "old" {
		t.Errorf("image has %q", got)
	}
	h.k.Reload("vg-home", ioctltest.Row{Length: 16384, Type: "linear", Params: "252:16 0"})
	if err := h.k.Protected("image"); err == nil || !strings.Contains(err.Error(), "rule A") {
		t.Errorf("after a reload behind our back: %v", err)
	}
	h.hangs(0)
}

func TestNotProtected(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.snapshot(false)
	if err := h.k.Protected("image"); err == nil || !strings.Contains(err.Error(), "rule B") {
		t.Errorf("origin not resumed last: %v", err)
	}
	if h.k.CutClean("image") {
		t.Error("the cut is clean, and nothing was frozen")
	}
	if h.k.Protected("vg-home") == nil || h.k.Protected("absent") == nil {
		t.Error("no image, and protected")
	}
}

// TestChained: an image may read through a newer one.
func TestChained(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	image := h.snapshot(true)
	h.k.AddDisk("vdd", ioctl.DevNo{Major: 252, Minor: 48}, mib)
	h.make("older", ioctl.Event{}, 16384, "snapshot", image.String()+" 252:48 P 16")
	h.ok(h.k.Protected("older"))
	h.k.Invalidate("image")
	if h.k.Protected("older") == nil {
		t.Error("protected by an image that is invalid")
	}
}

func TestSnapshotStates(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.snapshot(true)
	status := func() string {
		_, specs, err := h.c.TargetStatus(ioctl.ID{Name: "image"}, 0)
		h.ok(err)
		return specs[0].Params
	}
	h.k.Fill("image", 100)
	if got := status(); got != "1600/32768 32" {
		t.Errorf("filled: %s", got)
	}
	h.k.Overflow("image")
	if got := status(); got != "Overflow" {
		t.Error(got)
	}
	h.k.Fill("image", 3000)
	if got := status(); got != "Invalid" {
		t.Error(got)
	}
	if h.k.OldExceptions("image") {
		t.Error("a new store with old exceptions")
	}
}

func TestMergeInSteps(t *testing.T) {
	h := newHost(t, ioctltest.Options{MergeStep: 2})
	h.snapshot(true)
	h.k.Fill("image", 7)
	_, err := h.c.Suspend(ioctl.ID{Name: "image"}, 0)
	h.ok(err)
	_, spec, err := h.c.Table(ioctl.ID{Name: "image"}, 0)
	h.ok(err)
	h.k.Reload("vg-home", ioctltest.Row{Length: 16384, Type: "snapshot-merge", Params: spec[0].Params})
	for _, want := range []string{"80/32768 32", "48/32768 32", "32/32768 32", "32/32768 32"} {
		_, specs, err := h.c.TargetStatus(ioctl.ID{Name: "vg-home"}, 0)
		h.ok(err)
		if specs[0].Params != want {
			t.Errorf("got %s, want %s", specs[0].Params, want)
		}
	}
}

func TestEraOnSuspend(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	dev := h.make("era", ioctl.Event{}, 16384, "era", "252:32 "+h.k.AddDM("low", "", ioctltest.Row{Length: 16384, Type: "zero"}).String()+" 64")
	h.ok(h.k.Write(dev, 64*512, []byte{1}))
	if h.k.EraWritten(vdc, 1) != 1 || h.k.EraWritten(vdc, 0) != 0 {
		t.Error("writes are not marked")
	}
	h.is(unix.EDEADLK, h.c.Load(ioctl.ID{Name: "era"}, 0, []ioctl.Spec{{Length: 16384, Type: "era", Params: "252:32 252:16 64"}}))
	h.k.Suspend("era", true)
	_, _, err := h.c.TargetStatus(ioctl.ID{Name: "era"}, 0)
	h.is(unix.EDEADLK, err)
	_, err = h.c.Message(ioctl.ID{Name: "era"}, 0, "checkpoint")
	h.is(unix.EDEADLK, err)
	_, _, err = h.c.Table(ioctl.ID{Name: "era"}, 0)
	h.ok(err)
	_, err = h.c.Status(ioctl.ID{Name: "era"})
	h.ok(err)
	h.hangs(3)
}

// TestRecoveryFlag: the superblock in an image tells whether it was frozen.
func TestRecoveryFlag(t *testing.T) {
	for _, whole := range []bool{true, false} {
		h := newHost(t, ioctltest.Options{})
		image := h.snapshot(whole)
		b := make([]byte, 1)
		h.ok(h.k.Read(image, 0x460, b))
		if got := b[0]&4 == 0; got != whole {
			t.Errorf("frozen %v, journal clean %v", whole, got)
		}
	}
}
