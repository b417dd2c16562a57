package ioctl_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func TestKernelWaitAndPoll(t *testing.T) {
	_, c := guest(t)
	id, _ := device(t, c, "wait", zero(8))
	before, err := c.Status(id)
	must(t, err)
	must(t, c.ArmPoll())
	if ready, err := c.Poll(0); ready || err != nil {
		t.Errorf("poll without an event: %v, %v", ready, err)
	}
	type outcome struct {
		info  ioctl.Info
		specs []ioctl.Spec
		err   error
	}
	done := make(chan outcome)
	go func() {
		info, specs, err := c.Wait(id, before.EventNr)
		done <- outcome{info, specs, err}
	}()
	select {
	case got := <-done:
		t.Fatalf("wait returned at once: %+v", got)
	case <-time.After(200 * time.Millisecond):
	}
	_, err = c.Rename(id.Name, mark+"waited", ioctl.Event{})
	must(t, err)
	got := <-done
	must(t, got.err)
	if got.info.EventNr == before.EventNr || len(got.specs) != 1 {
		t.Errorf("%+v", got)
	}
	if ready, err := c.Poll(time.Second); !ready || err != nil {
		t.Errorf("poll after an event: %v, %v", ready, err)
	}
	if ready, err := c.Poll(-1); !ready || err != nil {
		t.Errorf("poll is not level-triggered: %v, %v", ready, err)
	}
	must(t, c.ArmPoll())
	start := time.Now()
	if ready, err := c.Poll(50 * time.Millisecond); ready || err != nil || time.Since(start) < 45*time.Millisecond {
		t.Errorf("poll after arming: %v, %v, %v", ready, err, time.Since(start))
	}
}

func TestKernelPreparedCalls(t *testing.T) {
	_, c := guest(t)
	id, dev := device(t, c, "prepared", zero(8))
	prepare := func(call *ioctl.Call, err error) *ioctl.Call {
		t.Helper()
		must(t, err)
		return call
	}
	suspend := prepare(c.PrepareSuspend(id, ioctl.SkipLockFS|ioctl.NoFlush))
	resume := prepare(c.PrepareResume(id, ioctl.SkipLockFS|ioctl.NoFlush, ioctl.Event{}))
	status := prepare(c.PrepareStatus(ioctl.ID{Dev: dev}))
	load := prepare(c.PrepareLoad(id, 0, []ioctl.Spec{{Length: 8, Type: "error"}}))
	drop := prepare(c.PrepareClear(id))
	for range 3 {
		must(t, suspend.Do())
		must(t, status.Do())
		if info := status.Info(); !info.Suspended || info.Name != id.Name {
			t.Errorf("suspended: %+v", info)
		}
		must(t, load.Do())
		must(t, drop.Do())
		must(t, load.Do())
		must(t, resume.Do())
		if info := resume.Info(); info.Suspended || info.Inactive || !info.Live || info.Dev != dev {
			t.Errorf("resumed: %+v", info)
		}
	}
	if n := testing.AllocsPerRun(10, func() {
		must(t, suspend.Do())
		must(t, status.Do())
		must(t, resume.Do())
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_, specs, err := c.Table(id, 0)
	must(t, err)
	if len(specs) != 1 || specs[0].Type != "error" {
		t.Errorf("table %v", specs)
	}
	remove := prepare(c.PrepareRemove(id, 0, ioctl.Event{}))
	for range 100 {
		if err = remove.Do(); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(t, err)
	mustFail(t, suspend.Do(), ioctl.ErrNotFound, unix.ENXIO)
}

// TestKernelCookie waits for udev where it runs, and for nobody where it does not.
func TestKernelCookie(t *testing.T) {
	k, c := guest(t)
	running := k.UdevRunning()
	t.Logf("udev running: %v", running)
	ck, err := k.NewCookie()
	must(t, err)
	defer ck.Discard()
	id := ioctl.ID{Name: mark + "cookie"}
	_, err = c.Create(id.Name, "", 0, ioctl.DevNo{})
	must(t, err)
	must(t, c.Load(id, 0, []ioctl.Spec{zero(2048)}))

	ev, err := ck.Event(0) // a failing call
	must(t, err)
	info, err := c.Rename(id.Name+"-absent", mark+"x", ev)
	mustFail(t, err, ioctl.ErrNotFound)
	must(t, ev.Settle(info, err))

	ev, err = ck.Event(0)
	must(t, err)
	info, err = c.Resume(id, 0, ev)
	must(t, err)
	must(t, ev.Settle(info, err))
	if !info.UeventGenerated {
		t.Error("no uevent from the first resume")
	}
	ev, err = ck.Event(0) // a running device makes no uevent
	must(t, err)
	info, err = c.Resume(id, 0, ev)
	must(t, err)
	must(t, ev.Settle(info, err))
	if info.UeventGenerated {
		t.Error("a uevent from a resume of a running device")
	}
	if !running {
		if n, err := ck.Pending(); n != 1 || err != nil {
			t.Errorf("pending %d, %v", n, err)
		}
		mustFail(t, ck.Wait(100*time.Millisecond), ioctl.ErrUdevTimeout)
		return
	}
	must(t, ck.Wait(30*time.Second))
	if target, err := k.Readlink("/dev/mapper/" + id.Name); err != nil || !strings.HasPrefix(target, "../dm-") {
		t.Errorf("link %q, %v", target, err)
	}
	if ck, err = k.NewCookie(); err != nil {
		t.Fatal(err)
	}
	ev, err = ck.Event(0)
	must(t, err)
	info, err = c.Remove(id, 0, ev)
	must(t, ev.Settle(info, err))
	must(t, ck.Wait(30*time.Second))
	must(t, err)
	if _, err := k.Lstat("/dev/mapper/" + id.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("link after removal: %v", err)
	}
}
