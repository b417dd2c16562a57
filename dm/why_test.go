package dm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func TestLoad(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	start := time.Unix(1000, 0)
	cut := start.Add(-100 * time.Second)
	for name, c := range map[string]struct {
		before, after counts
		cut           *time.Time
		size          uint64
		write, fill   *uint64
		full          *uint64
	}{
		"grows now": {
			counts{start, n(100), n(5000)},
			counts{start.Add(2 * time.Second), n(300), n(9000)},
			&cut, 1300, n(2000), n(100), n(10),
		},
		"quiet now": {
			counts{start, n(1000), n(0)},
			counts{start.Add(time.Second), n(1000), n(0)},
			&cut, 2000, n(0), n(9), n(111),
		},
		"one look": {counts{start, n(1000), n(7)}, counts{start, n(1000), n(7)}, &cut, 2000, nil, n(10), n(100)},
		"empty":    {counts{start, n(0), nil}, counts{start, n(0), nil}, &cut, 2000, nil, n(0), nil},
		"lost":     {counts{start, nil, nil}, counts{start, nil, nil}, nil, 2000, nil, nil, nil},
	} {
		l := compareCounts(c.before, c.after, c.cut, Store{SizeBytes: c.size})
		var full *uint64
		if l.FullIn != nil {
			full = n(uint64(*l.FullIn / time.Second))
		}
		for what, pair := range map[string][2]*uint64{
			"writes": {(*uint64)(l.WriteRate), c.write}, "fill": {(*uint64)(l.FillRate), c.fill}, "full in": {full, c.full},
		} {
			got, want := pair[0], pair[1]
			if (got == nil) != (want == nil) || got != nil && *got != *want {
				t.Errorf("%s: %s is %v, want %v", name, what, deref(got), deref(want))
			}
		}
	}
}

func deref(n *uint64) any {
	if n == nil {
		return nil
	}
	return *n
}

// TestWhyStoreFills: a store that will be full soon is a problem, with the time.
func TestWhyStoreFills(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	r := both()
	r.Origins, r.StoreSize = []string{"/home"}, Size{Bytes: 4 * mib}
	r.Stores = map[string]string{"": "/dev/vdc"}
	h.create(t, r)
	h.Fill("dmsnap-nightly-home", 60) // of 64
	x, err := h.m.Why(context.Background(), "nightly", 0)
	check(t, err)
	var store *Finding
	for i := range x.Findings {
		if x.Findings[i].Topic == "store" {
			store = &x.Findings[i]
		}
	}
	if store == nil || store.Level != LevelProblem || store.Hint == "" || store.Load.FullIn == nil {
		t.Errorf("%+v", x.Findings)
	}
	if x.Kind != "set" || x.Summary == "" {
		t.Errorf("%+v", x)
	}
}

// TestWhyBypassed: nothing fills the store of an image that the origin's writes do
// not reach any more.
func TestWhyBypassed(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	r := both()
	r.Origins, r.StoreSize = []string{"/home"}, Size{Bytes: 4 * mib}
	r.Stores = map[string]string{"": "/dev/vdc"}
	h.create(t, r)
	h.Fill("dmsnap-nightly-home", 60)
	h.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"})
	x, err := h.m.Why(h.ctx, "nightly", 0)
	check(t, err)
	for _, f := range x.Findings {
		if f.Load != nil || f.Topic == "store" && f.Level != LevelOK {
			t.Errorf("%+v", f)
		}
	}
	if s := h.set(t).Volumes[0].Store; s.FullIn != nil || s.FillRate != nil {
		t.Errorf("%+v", s)
	}
	h.WriteFile("/snap/.keep", "")
	if _, err := h.m.Mount(h.ctx, "nightly", "/snap"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("mounted: %v", err)
	}
}

// TestWhyInterrupted: an operation whose process is gone is called interrupted.
func TestWhyInterrupted(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	check(t, h.m.state.Begin(journal.Intent{Op: "remove", Set: "nightly", ID: "x", PID: 4711, Origins: []string{h.home.String()}}))
	for _, subject := range []string{"nightly", "/home"} {
		x, err := h.m.Why(context.Background(), subject, 0)
		check(t, err)
		if last := x.Findings[len(x.Findings)-1]; last.Topic != "operation" || last.Level != LevelProblem || last.Hint != "dmsnap recover" {
			t.Errorf("%s: %+v", subject, x.Findings)
		}
	}
}

func TestWhyWaitsForItsContext(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.m.Why(ctx, "nightly", time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
