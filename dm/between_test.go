package dm

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// between lets another process do something right before the first call that is as
// asked for.
func (h *host) between(at func(ioctltest.Call) bool, do func(other *Manager)) {
	var once sync.Once // calls of a window run on several threads
	h.Fail(func(c ioctltest.Call) error {
		if at(c) {
			once.Do(func() {
				h.Fail(nil)
				do(New(h.m.opts))
			})
		}
		return nil
	})
}

// locking is the first step towards a lock.
func locking(c ioctltest.Call) bool { return c.Op == "flock" }

func (h *host) active(t *testing.T, name string) *Set {
	t.Helper()
	set, err := h.m.Show(context.Background(), name)
	check(t, err)
	if set.State != StateActive {
		t.Errorf("%s is %s: %s", name, set.State, set.Volumes[0].Reason)
	}
	return set
}

// TestRecoverBesideACreate: a create stands still with a base and no image yet, and comes
// to its end right before any call of a recover.
func TestRecoverBesideACreate(t *testing.T) {
	hostOnly(t)
	for n := 1; recoverBeside(t, n) && !t.Failed(); n++ {
	}
}

func recoverBeside(t *testing.T, n int) (more bool) {
	t.Helper()
	h := newHost(t, ioctltest.Options{Udev: true})
	half, goOn, end := make(chan struct{}), make(chan struct{}), make(chan error)
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_CREATE" && strings.HasPrefix(c.Name, "dmsnap-store-") {
			h.Fail(nil)
			close(half)
			<-goOn
		}
		return nil
	})
	go func() {
		_, err := h.m.Create(context.Background(), CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}})
		end <- err
	}()
	<-half
	first := h.Calls()
	finish := func() {
		more = true
		close(goOn)
		check(t, <-end)
	}
	h.between(func(c ioctltest.Call) bool { return c.N-first >= n }, func(*Manager) { finish() })
	recovered(t, h)
	h.Fail(nil)
	if !more {
		finish()
		more = false
	}
	h.active(t, "nightly")
	h.healthy(t)
	if t.Failed() {
		t.Logf("before call %d", n)
	}
	return more
}

// TestHeldAtTheLastMoment: somebody holds a set whose lease is over, or cuts it anew,
// when it is about to be removed.
func TestHeldAtTheLastMoment(t *testing.T) {
	hostOnly(t)
	for name, do := range map[string]func(t *testing.T, other *Manager){
		"held": func(t *testing.T, other *Manager) {
			_, err := other.Hold(context.Background(), "nightly")
			check(t, err)
		},
		"cut anew": func(t *testing.T, other *Manager) {
			check(t, other.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
			_, err := other.Create(context.Background(), both())
			check(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := leasedHost(t, Lease{For: time.Minute})
			h.Advance(time.Hour)
			h.between(locking, func(other *Manager) { do(t, other) })
			h.expires(t)
			h.active(t, "nightly")
		})
	}
}

// TestRemoveMeansTheSetItFound: who asks for a removal by name means the set that has
// the name then.
func TestRemoveMeansTheSetItFound(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.create(t, both())
	var fresh *Set
	h.between(locking, func(other *Manager) {
		check(t, other.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		set, err := other.Create(context.Background(), both())
		check(t, err)
		fresh = set
	})
	if err := h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if set := h.active(t, "nightly"); set.UUID != fresh.UUID {
		t.Error("it is another set")
	}
}

// TestDeadOnesOriginsAreOthers: an interrupted create cannot be ended as long as somebody
// is at one of its origins. Who works on another one meanwhile is not disturbed.
func TestDeadOnesOriginsAreOthers(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	at, err := h.dieAt(func(c ioctltest.Call) bool { return c.Request == "DM_DEV_CREATE" }, operations["create"].do)
	if at == nil {
		t.Fatalf("it lived: %v", err)
	}
	h.Exit()
	intents, err := h.m.state.Intents()
	check(t, err)
	intents[0].PID = 4712 // of nobody
	check(t, h.m.state.Begin(intents[0]))
	locks, err := h.m.state.Lock(4711, journal.OriginKey(h.home.String()))
	check(t, err)
	inWindow := func(c ioctltest.Call) bool { return c.Request == "DM_DEV_RESUME" && c.Name == "dmsnap-other-var" }
	h.between(inWindow, func(other *Manager) {
		_, err := other.Recover(context.Background())
		check(t, err)
	})
	_, err = h.m.Create(context.Background(), CreateRequest{Name: "other", Origins: []string{"/var"}, Stores: map[string]string{"": "/dev/vdd"}})
	h.Fail(nil)
	check(t, errors.Join(err, locks.Unlock()))
	h.active(t, "other")
	h.healthy(t)
}

// TestUnreadableIsNotDead: whoever has no descriptor left for the journal does not take
// the operation it tells of for a dead one's.
func TestUnreadableIsNotDead(t *testing.T) {
	hostOnly(t)
	for _, at := range []string{"DM_DEV_CREATE dmsnap-base-home", "DM_TABLE_LOAD dmsnap-base-home", "DM_DEV_RESUME home"} {
		h := newHost(t, ioctltest.Options{Udev: true})
		done := false
		h.Fail(func(c ioctltest.Call) error {
			if c.Request+" "+c.Name != at || done {
				return nil
			}
			done = true
			h.Fail(func(c ioctltest.Call) error {
				if c.Op == "open" && strings.HasPrefix(c.Path, "/state/journal/") {
					return unix.EMFILE
				}
				return nil
			})
			_, err := New(h.m.opts).Recover(context.Background())
			h.Fail(nil)
			check(t, err)
			return nil
		})
		_, err := h.m.Create(context.Background(), both())
		h.Fail(nil)
		if !done {
			t.Errorf("there is no %s", at)
		}
		if err != nil {
			t.Errorf("at %s: %v", at, err)
			continue
		}
		h.active(t, "nightly")
		h.healthy(t)
	}
}

// TestNameOfAnInterruptedRemoval: it is not free before the removal is ended, which would
// meet the new set.
func TestNameOfAnInterruptedRemoval(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.create(t, both())
	gone := false
	at, err := h.dieAt(func(c ioctltest.Call) bool {
		dead := gone
		gone = gone || c.Op == "unlink" && c.Path == "/state/sets/nightly.json"
		return dead
	}, func(h *host) error { return h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}) })
	if at == nil {
		t.Fatalf("it lived: %v", err)
	}
	h.Exit()
	locks, err := h.m.state.Lock(4711, journal.OriginKey(h.home.String()))
	check(t, err)
	again := CreateRequest{Name: "nightly", Origins: []string{"/var"}, Stores: map[string]string{"": "/dev/vdd"}, Labels: map[string]string{"k": "v"}}
	_, err = h.m.Create(context.Background(), again)
	if err != nil && !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	check(t, locks.Unlock())
	if err != nil {
		h.create(t, again)
	}
	recovered(t, h)
	if set := h.active(t, "nightly"); set.Labels["k"] != "v" || set.Receipt == nil {
		t.Errorf("its record is lost: %+v", set)
	}
}

// TestMountChangesBeforeTheLock: what is cut is what is locked.
func TestMountChangesBeforeTheLock(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.between(locking, func(*Manager) {
		check(t, h.Border().Unmount("/home", 0))
		check(t, h.Border().Unmount("/var", 0))
		h.Kernel.Mount(h.vard, "/home", "xfs")
		h.Fail(func(c ioctltest.Call) error {
			if c.Request == "DM_DEV_CREATE" {
				locks, err := h.m.state.Lock(4711, journal.OriginKey(h.vard.String()))
				if _, held := errors.AsType[*journal.LockedError](err); !held {
					t.Errorf("at %s: locked %v, %v", c, locks, err)
				}
				h.Fail(nil)
			}
			return nil
		})
	})
	set := h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdd"}})
	if v := set.Volumes[0]; v.OriginDevno != h.vard {
		t.Errorf("%+v", v)
	}
}

// TestLooks counts how often our devices are listed.
func TestLooks(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	for _, op := range []struct {
		name string
		most int
		do   func() error
	}{
		{"recover with nothing to do", 2, func() error { _, err := h.m.Recover(context.Background()); return err }},
		{"remove", 3, func() error { return h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}) }},
	} {
		first, looks := len(h.Log()), 0
		check(t, op.do())
		for _, c := range h.Log()[first:] {
			if c.Request == "DM_LIST_DEVICES" {
				looks++
			}
		}
		if looks > op.most {
			t.Errorf("%s looks %d times", op.name, looks)
		}
	}
}

// TestNamesAreFollowedTwice: a create follows what names an origin for the locks that it
// needs, and once more under them, since it may lead elsewhere by then.
func TestNamesAreFollowedTwice(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	first := len(h.Log())
	h.create(t, both())
	followed := map[string]int{}
	for _, c := range h.Log()[first:] {
		if c.Op == "stat" {
			followed[c.Path]++
		}
	}
	for _, origin := range both().Origins {
		if followed[origin] != 2 {
			t.Errorf("%s is followed %d times", origin, followed[origin])
		}
	}
}

// TestAttachWaits for whoever is at the device, as long as it may, and ends leases
// before, as a create does.
func TestAttachWaits(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	r := both()
	r.Lease = Lease{For: time.Minute}
	h.create(t, r)
	h.Advance(time.Hour)
	locks, err := h.m.state.Lock(4711, journal.OriginKey(h.data.String()))
	check(t, err)
	o := h.m.opts
	o.Wait = time.Minute
	tries := 0
	h.Fail(func(c ioctltest.Call) error {
		if locking(c) && strings.HasSuffix(c.Path, "/origin-252_129") {
			if tries++; tries == 3 {
				h.Fail(nil)
				check(t, locks.Unlock())
			}
		}
		return nil
	})
	_, err = New(o).Attach(context.Background(), "/data")
	check(t, err)
	if _, err := h.m.Show(context.Background(), "nightly"); !errors.Is(err, ErrNotFound) {
		t.Errorf("its lease is over: %v", err)
	}
	check(t, h.m.Detach(context.Background(), "/data"))
}

// TestAdoptedHalf: with the journal lost, nobody takes down what an attach left
// without a table. It is called neither attached nor lost: a detach ends it.
func TestAdoptedHalf(t *testing.T) {
	hostOnly(t)
	h := newBareHost(t, ioctltest.Options{})
	before := dmLines(h.Snapshot())
	at, err := h.dieAt(func(c ioctltest.Call) bool { return c.Request == "DM_TABLE_LOAD" }, operations["adopt"].do)
	if at == nil {
		t.Fatalf("it lived: %v", err)
	}
	h.Exit()
	h.each(t, "journal", func(file string) error { return h.Border().Unlink(file) })
	m := New(h.m.opts)
	if _, err := m.Attach(context.Background(), h.plain); !errors.Is(err, ErrBusy) {
		t.Errorf("attach: %v", err)
	}
	check(t, m.Detach(context.Background(), h.plain))
	same(t, "given back", before, dmLines(h.Snapshot()))
}
