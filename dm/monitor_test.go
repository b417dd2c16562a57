package dm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// monitored runs a monitor for the time of a test and gives its notices.
func (h *host) monitored(t *testing.T, r MonitorRequest) <-chan Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	notices, looked, ended := make(chan Event, 100), make(chan bool, 1), make(chan error, 1)
	r.Events = func(n Event) { notices <- n }
	r.Look = func([]Set) {
		select {
		case looked <- true:
		default:
		}
	}
	go func() { ended <- h.m.Monitor(ctx, r) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-looked
	return notices
}

// fill writes to chunks of home from one to another, as /home's writers do.
func (h *host) fill(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		check(t, h.Write(h.home, uint64(i)*64<<10, make([]byte, 512)))
	}
}

func expect(t *testing.T, notices <-chan Event, want ...EventKind) (last Event) {
	t.Helper()
	for _, what := range want {
		if last = <-notices; last.Kind != what || last.Set != "nightly" || last.Volume != "home" || last.Time.IsZero() {
			t.Fatalf("%+v, want %s", last, what)
		}
	}
	return last
}

// TestMonitorGrows keeps a store of 4 MiB alive that 14 MiB are copied to: its own
// disk first, which is larger, then the second one.
func TestMonitorGrows(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, StoreSize: Size{Bytes: 4 * mib}})
	notices := h.monitored(t, MonitorRequest{Step: Size{Bytes: 12 * mib}, Spill: []string{"/dev/vda", "/dev/vdd"}})
	h.fill(t, 0, 50)
	n := expect(t, notices, EventLow, EventGrown)
	if n.SizeBytes != 16*mib || n.UsedBytes == nil || *n.UsedBytes < 2*mib { // the fill may still go on
		t.Errorf("%+v", n)
	}
	h.fill(t, 50, 230)
	if n = expect(t, notices, EventLow, EventGrown); n.SizeBytes <= 16*mib {
		t.Errorf("%+v", n)
	}
	h.fill(t, 230, 256) // all there is
	set, err := h.m.Show(context.Background(), "nightly")
	if err != nil || set.State != StateActive || !slices.Equal(set.Volumes[0].Store.Spill, []string{"/dev/vdd"}) {
		t.Errorf("%+v, %v", set, err)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	if len(notices) > 0 {
		t.Errorf("also %+v", <-notices)
	}
}

func TestMonitorCannotGrow(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.small(t)
	notices := h.monitored(t, MonitorRequest{Limit: Size{Bytes: 4 * mib}, Interval: 20 * time.Millisecond})
	h.fill(t, 0, 50)
	if n := expect(t, notices, EventLow, EventFull); n.Reason == "" {
		t.Error("no reason")
	}
	h.fill(t, 50, 100)
	if n := expect(t, notices, EventInvalid); n.Reason == "" || n.UsedBytes != nil {
		t.Errorf("%+v", n)
	}
}

// TestMonitorSeesBypass: somebody takes the front away. Nobody waits for the next
// look; the kernel tells.
func TestMonitorSeesBypass(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	notices := h.monitored(t, MonitorRequest{Interval: time.Hour})
	h.small(t) // made later
	h.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"})
	expect(t, notices, EventBypassed)
}

// TestMonitorSeesUnplug: the disk of a plain origin is pulled. It is said once.
func TestMonitorSeesUnplug(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	check(t, h.createOnData())
	notices := h.monitored(t, MonitorRequest{Interval: time.Hour})
	h.Unplug("dmsnap-base-vdi1")
	if n := <-notices; n.Kind != EventGone || n.Volume != "vdi1" || !strings.Contains(n.Reason, "removed from this machine") {
		t.Errorf("%+v", n)
	}
}

func TestOneMonitor(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	if on, err := h.m.Monitored(); on || err != nil {
		t.Error(on, err)
	}
	set := h.small(t)
	if set.Monitored {
		t.Error("nobody watches")
	}
	h.monitored(t, MonitorRequest{})
	if on, err := h.m.Monitored(); !on || err != nil {
		t.Error(on, err)
	}
	set, err := h.m.Show(context.Background(), "nightly")
	if err != nil || !set.Monitored {
		t.Errorf("%+v, %v", set, err)
	}
	if err := h.m.Monitor(context.Background(), MonitorRequest{}); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	if err := h.m.Monitor(context.Background(), MonitorRequest{Threshold: 100}); !errors.Is(err, ErrUsage) {
		t.Error(err)
	}
}

func TestMonitorEndsLeases(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, Lease: Lease{For: time.Nanosecond}})
	h.Advance(time.Second)
	n := <-h.monitored(t, MonitorRequest{Interval: time.Millisecond})
	if n.Kind != EventExpired || n.Set != "nightly" || n.Volume != "" {
		t.Errorf("%+v", n)
	}
	if _, err := h.m.Show(context.Background(), "nightly"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
