package dm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// small makes a set of home with a store of 4 MiB on a disk of 16.
func (h *host) small(t *testing.T) *Set {
	t.Helper()
	return h.create(t, CreateRequest{
		Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, StoreSize: Size{Bytes: 4 * mib},
	})
}

var more = ExtendRequest{Name: "nightly", Size: Size{Bytes: 4 * mib}, Relative: true}

func TestExtend(t *testing.T) {
	hostOnly(t)
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		h := newHost(t, o)
		clean := h.Snapshot()
		h.small(t)
		for i := range 3 {
			set, err := h.m.Extend(context.Background(), more)
			check(t, err)
			if got, want := set.Volumes[0].Store.SizeBytes, uint64(8+4*i)*mib; got != want || set.State != StateActive {
				t.Errorf("store of %d bytes, set %s; want %d, active", got, set.State, want)
			}
		}
		record, err := h.m.state.LoadSet("nightly")
		if err != nil || record.Volumes[0].StoreBytes != 16*mib || record.Receipt == nil {
			t.Errorf("record of %d bytes, %v", record.Volumes[0].StoreBytes, err)
		}
		h.healthy(t)
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		same(t, "grown and removed", withoutLocks(clean), withoutLocks(h.Snapshot()))
	})
}

// TestExtendSpills goes on with a second disk, which nothing else can have then,
// and which keeps no trace that looks like a filesystem.
func TestExtendSpills(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.small(t)
	r := ExtendRequest{Name: "nightly", Size: Size{Bytes: 17 * mib}}
	_, err := h.m.Extend(context.Background(), r)
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("17 MiB on a disk of 16: %v", err)
	}
	r.Store = "/dev/vdd"
	set, err := h.m.Extend(context.Background(), r)
	check(t, err)
	if s := set.Volumes[0].Store; s.Path != "/dev/vdc" || !slices.Equal(s.Spill, []string{"/dev/vdd"}) {
		t.Errorf("%+v", s)
	}
	_, err = h.m.Create(context.Background(), CreateRequest{Name: "b", Origins: []string{"/var"}, Stores: map[string]string{"": "/dev/vdd"}})
	if !errors.Is(err, ErrBusy) {
		t.Errorf("a second set on the further disk: %v", err)
	}
	vdd := ioctl.DevNo{Major: 252, Minor: 48}
	check(t, h.Write(vdd, layout.Lead, []byte("XFSB"))) // as a chunk of the origin may be
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	_, err = h.m.Create(context.Background(), CreateRequest{Name: "b", Origins: []string{"/var"}, Stores: map[string]string{"": "/dev/vdd"}})
	check(t, err)
}

func TestExtendRefuses(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, CreateRequest{
		Name: "nightly", Origins: []string{"/home", "/var"},
		Stores: map[string]string{"/home": "/dev/vdc", "/var": "/dev/vdd"}, StoreSize: Size{Bytes: mib},
	})
	before := h.Snapshot()
	for name, row := range map[string]struct {
		r    ExtendRequest
		want error
	}{
		"no such set":    {ExtendRequest{Name: "no", Size: Size{Percent: 50}}, ErrNotFound},
		"no such volume": {ExtendRequest{Name: "nightly", Size: Size{Percent: 50}, Volumes: []string{"opt"}}, ErrNotFound},
		"smaller":        {ExtendRequest{Name: "nightly", Size: Size{Bytes: 65536}}, ErrUsage},
		"whose store":    {ExtendRequest{Name: "nightly", Size: Size{Percent: 50}, Store: "/dev/vdb"}, ErrUsage},
		"store in use":   {ExtendRequest{Name: "nightly", Size: Size{Percent: 50}, Volumes: []string{"home"}, Store: "/dev/vdd"}, ErrBusy},
		"origin":         {ExtendRequest{Name: "nightly", Size: Size{Percent: 50}, Volumes: []string{"home"}, Store: "/dev/mapper/home"}, ErrUsage},
	} {
		_, err := h.m.Extend(context.Background(), row.r)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
		same(t, name, withoutLocks(before), withoutLocks(h.Snapshot()))
	}
	p, err := h.m.PlanExtend(context.Background(), more)
	if err != nil || len(p.Steps) != 7 {
		t.Errorf("%+v, %v", p, err)
	}
	same(t, "a plan", before, h.Snapshot())
}

// TestExtendFails fails calls, and then kills the process before them: the store
// has the old size or the new one, runs, and the set stays.
func TestExtendFails(t *testing.T) {
	hostOnly(t)
	x := extension{
		request: more, step: step(),
		host: func(t *testing.T) *host {
			h := newHost(t, ioctltest.Options{Udev: true})
			h.small(t)
			return h
		},
		settled: (*host).settled,
	}
	x.fails(t)
	x.dies(t)
}

// TestExtendOfTwoDies right before each store gets its larger table. Recover does
// not leave one of them larger and the other not.
func TestExtendOfTwoDies(t *testing.T) {
	hostOnly(t)
	r := both()
	r.StoreSize = Size{Bytes: 4 * mib}
	for store, want := range map[string]uint64{"home": 4 * mib, "var": 8 * mib} {
		h := newHost(t, ioctltest.Options{Udev: true})
		h.create(t, r)
		at, err := h.dieAt(func(c ioctltest.Call) bool {
			return c.Request == "DM_DEV_RESUME" && c.Name == "dmsnap-store-nightly-"+store
		}, extension{request: more}.do)
		if at == nil {
			t.Fatalf("it lived: %v", err)
		}
		h.Exit()
		recovered(t, h)
		set, err := h.m.Show(context.Background(), "nightly")
		check(t, err)
		for _, v := range set.Volumes {
			if v.Store.SizeBytes != want || v.State != StateActive {
				t.Errorf("killed at %s: store %s has %d bytes, want %d", store, v.Name, v.Store.SizeBytes, want)
			}
		}
		h.healthy(t)
	}
}

// extension is an Extend of which calls fail.
type extension struct {
	request ExtendRequest
	step    int // from one call to the next
	host    func(t *testing.T) *host
	// settled expects a set that is whole after recover and goes without a trace.
	settled func(h *host, t *testing.T, what string, m *Manager)
}

func (x extension) do(h *host) error {
	_, err := h.m.Extend(context.Background(), x.request)
	return err
}

func (x extension) fails(t *testing.T) {
	t.Helper()
	for n := 1; !t.Failed(); n += x.step {
		h := x.host(t)
		before := withoutLocks(h.Snapshot())
		failed := h.failNth(n, unix.EIO)
		err := x.do(h)
		h.Fail(nil)
		if failed.past {
			check(t, err)
			return
		}
		what := fmt.Sprintf("call %d, %s, failed: %v", n, failed, err)
		switch {
		case err == nil:
		case errors.Is(err, ErrPartial), errors.Is(err, ErrUnrecovered):
			x.settled(h, t, what, h.m)
		default:
			same(t, what, before, withoutLocks(h.Snapshot()))
		}
		h.healthy(t)
	}
}

func (x extension) dies(t *testing.T) {
	t.Helper()
	for n := 1; !t.Failed(); n += x.step {
		h := x.host(t)
		at, err := h.die(n, x.do)
		if at == nil {
			check(t, err)
			return
		}
		h.Exit()
		x.settled(h, t, fmt.Sprintf("killed before %s", at), New(h.m.opts))
		h.healthy(t)
	}
}

// settled expects a set that is whole after recover, grown or not, and that goes
// without a trace.
func (h *host) settled(t *testing.T, what string, m *Manager) {
	t.Helper()
	_, err := m.Recover(context.Background())
	check(t, err)
	set, err := m.Show(context.Background(), "nightly")
	if err != nil || set.State != StateActive {
		t.Errorf("%s: %+v, %v", what, set, err)
		return
	}
	record, err := m.state.LoadSet("nightly")
	if got := set.Volumes[0].Store.SizeBytes; err != nil || got != 4*mib && got != 8*mib || record.Volumes[0].StoreBytes != got {
		t.Errorf("%s: a store of %d bytes, by its record %d, %v", what, got, record.Volumes[0].StoreBytes, err)
	}
	if intents, err := m.state.Intents(); err != nil || len(intents) > 0 {
		t.Errorf("%s: intents left: %v, %v", what, intents, err)
	}
	check(t, m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	clean := newHost(t, ioctltest.Options{Udev: true})
	same(t, what+", then removed", dmLines(clean.Snapshot()), dmLines(h.Snapshot()))
}
