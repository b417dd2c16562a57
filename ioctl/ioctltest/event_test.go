package ioctltest_test

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func TestUdev(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	if !h.b.UdevRunning() {
		t.Fatal("no udev")
	}
	before := h.k.Snapshot()
	cookie, err := h.b.NewCookie()
	h.ok(err)
	event := func(flags ioctl.UdevFlags) ioctl.Event {
		ev, err := cookie.Event(flags)
		h.ok(err)
		return ev
	}
	dev := h.make("seen", event(0), 8, "zero", "")
	h.make("hidden", event(ioctl.DisableDMRules), 8, "zero", "")
	link, err := h.b.Readlink("/dev/mapper/seen")
	h.ok(err)
	if want := "../dm-" + strings.TrimPrefix(dev.String(), "254:"); link != want {
		t.Errorf("link %q, want %q", link, want)
	}
	_, err = h.b.Lstat("/dev/mapper/hidden")
	h.is(fs.ErrNotExist, err)
	_, err = h.c.Rename("seen", "moved", event(0))
	h.ok(err)
	_, err = h.b.Lstat("/dev/mapper/seen")
	h.is(fs.ErrNotExist, err)
	for _, name := range []string{"moved", "hidden"} {
		_, err = h.c.Remove(ioctl.ID{Name: name}, 0, event(0))
		h.ok(err)
	}
	h.ok(cookie.Wait(time.Second))
	if after := h.k.Snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestNoUdev(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	if h.b.UdevRunning() {
		t.Error("udev runs")
	}
	cookie, err := h.b.NewCookie()
	h.ok(err)
	ev, err := cookie.Event(0)
	h.ok(err)
	h.make("seen", ev, 8, "zero", "")
	_, err = h.b.Lstat("/dev/mapper/seen")
	h.is(fs.ErrNotExist, err)
	h.is(ioctl.ErrUdevTimeout, cookie.Wait(time.Hour))
	if strings.Contains(h.k.Snapshot(), "sem ") {
		t.Error("the semaphore is still there")
	}
}

func TestWaitAndInterrupt(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	done := make(chan error)
	wait := func() {
		_, _, err := h.c.Wait(ioctl.ID{Name: "vg-home"}, 0)
		done <- err
	}
	go wait()
	for h.k.Log()[h.k.Calls()-1].Request != "DM_DEV_WAIT" {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	h.k.Interrupt()
	h.is(unix.EINTR, <-done)
	go wait()
	time.Sleep(20 * time.Millisecond)
	_, err := h.c.Rename("vg-home", "vg-other", ioctl.Event{})
	h.ok(err)
	h.ok(<-done)
	h.ok(h.c.ArmPoll())
	ready, err := h.c.Poll(20 * time.Millisecond)
	h.ok(err)
	if ready {
		t.Error("ready without an event")
	}
}
