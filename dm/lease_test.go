package dm

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func TestLeaseText(t *testing.T) {
	for text, want := range map[string]Lease{"2h": {For: 2 * time.Hour}, "pid:42": {PID: 42}, "boot": {Boot: true}} {
		got, err := ParseLease(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseLease(got.String()); err != nil || again != want {
			t.Errorf("%s, written %s: %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "2", "-2h", "0s", "pid:", "pid:0", "pid:-1", "pid:x", "reboot"} {
		if l, err := ParseLease(text); err == nil {
			t.Errorf("%q is %+v", text, l)
		}
	}
}

// leasedHost has a set with a lease.
func leasedHost(t *testing.T, l Lease) *host {
	t.Helper()
	h := newHost(t, ioctltest.Options{})
	h.AddProcess(4711, "backup", 0)
	r := both()
	r.Lease = l
	if set := h.create(t, r); set.Lease == nil || set.Lease.Lease != l.String() || set.Lease.Expired {
		t.Fatalf("lease %+v", set.Lease)
	}
	return h
}

func (h *host) expires(t *testing.T, want ...string) {
	t.Helper()
	removed, err := h.m.Expire(context.Background())
	if err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %v, %v; want %v", removed, err, want)
	}
}

func TestLeases(t *testing.T) {
	for name, row := range map[string]struct {
		lease Lease
		end   func(*host)
	}{
		"time":                       {Lease{For: 2 * time.Hour}, func(h *host) { h.Advance(2*time.Hour + time.Second) }},
		"process":                    {Lease{PID: 4711}, func(h *host) { h.RemoveProcess(4711) }},
		"its id again":               {Lease{PID: 4711}, func(h *host) { h.RemoveProcess(4711); h.AddProcess(4711, "other", 0) }},
		"boot":                       {Lease{Boot: true}, func(h *host) { h.Reboot() }},
		"process gone with the boot": {Lease{PID: 4711}, func(h *host) { h.Reboot(); h.AddProcess(4711, "other", 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			h := leasedHost(t, row.lease)
			h.Advance(time.Hour)
			h.expires(t)
			row.end(h)
			_, err := h.m.Hold(context.Background(), "nightly")
			check(t, err)
			h.expires(t)
			set, err := h.m.Release(context.Background(), "nightly")
			check(t, err)
			if !set.Lease.Expired {
				t.Errorf("%+v", set.Lease)
			}
			h.expires(t, "nightly")
			if _, err := h.m.Show(context.Background(), "nightly"); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			h.healthy(t)
		})
	}
}

// TestNextCommandExpires: stores of a set whose lease is over serve the next.
func TestNextCommandExpires(t *testing.T) {
	h := leasedHost(t, Lease{For: time.Minute})
	h.Advance(time.Hour)
	r := both()
	r.Name = "next"
	h.create(t, r)
	sets, err := h.m.List(context.Background())
	check(t, err)
	if len(sets) != 1 || sets[0].Name != "next" {
		t.Errorf("%+v", sets)
	}
}

// TestLeaseOfABusySet: it stays, and says why; the next try removes it.
func TestLeaseOfABusySet(t *testing.T) {
	h := leasedHost(t, Lease{For: time.Minute})
	h.Advance(time.Hour)
	set, err := h.m.Show(context.Background(), "nightly")
	check(t, err)
	dev := set.Volumes[0].Devno
	release := h.Kernel.Hold(dev)
	if _, err := h.m.Expire(context.Background()); !errors.Is(err, ErrBusy) {
		t.Errorf("in use: %v", err)
	}
	release()
	h.expires(t, "nightly")
}

func TestLeaseToNobody(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	r := both()
	r.Lease = Lease{PID: 4711}
	before := withoutLocks(h.Snapshot())
	if _, err := h.m.Create(context.Background(), r); !errors.Is(err, ErrUsage) {
		t.Errorf("got %v", err)
	}
	same(t, "after a refusal", before, withoutLocks(h.Snapshot()))
}
