package dm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// operation is something that may fail, on a host prepared for it.
type operation struct {
	prepare func(t *testing.T, h *host)
	do      func(h *host) error
	on      func(t *testing.T, o ioctltest.Options) *host // newHost if nil
}

func (op operation) host(t *testing.T, o ioctltest.Options) *host {
	t.Helper()
	if op.on == nil {
		op.on = newHost
	}
	h := op.on(t, o)
	op.prepare(t, h)
	return h
}

// litter puts what no signature tells of on the disks of stores: a create that
// fails must leave it there.
func litter(t *testing.T, h *host) {
	t.Helper()
	for i, disk := range []uint32{32, 48} {
		for _, at := range []uint64{0, 64 << 10, mib, mib + 4096, mib + 64<<10, 3 * mib, 17 * mib, 18*mib - 4096} {
			check(t, h.Write(ioctl.DevNo{Major: 252, Minor: disk}, at, bytes.Repeat([]byte{0xa5, byte(i), 0x5a, byte(at >> 12)}, 1024)))
		}
	}
}

var operations = map[string]operation{
	"create": {
		prepare: litter,
		do:      func(h *host) error { _, err := h.m.Create(h.ctx, both()); return err },
	},
	"create on copies": {
		prepare: litter,
		do:      func(h *host) error { _, err := h.m.Create(h.ctx, both()); return err },
		on:      newCopiesHost,
	},
	"create on a group": {
		prepare: litter,
		do: func(h *host) error {
			r := both()
			r.Select, r.AllowUnproven = Selection{All: true, Groups: []string{"vg"}, Except: []string{"/data"}}, []string{"/home"}
			_, err := h.m.Create(h.ctx, r)
			return err
		},
		on: newGroupHost,
	},
	"create beside": {
		prepare: func(t *testing.T, h *host) {
			litter(t, h)
			h.create(t, CreateRequest{Name: "first", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdd"}})
		},
		do: func(h *host) error {
			_, err := h.m.Create(h.ctx, CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}})
			return err
		},
	},
	"create in a file of its own": {
		prepare: func(*testing.T, *host) {},
		do:      func(h *host) error { return h.createIn("file:/home/.cow") },
	},
	"create in a file elsewhere": {
		prepare: func(t *testing.T, h *host) { h.elsewhere(t) },
		do:      func(h *host) error { return h.createIn("file:/srv/.cow") },
	},
	"create in memory": {
		prepare: func(*testing.T, *host) {},
		do:      func(h *host) error { return h.createIn("ram") },
	},
	"create beside in a file": {
		prepare: func(t *testing.T, h *host) {
			h.create(t, CreateRequest{Name: "first", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdd"}})
		},
		do: func(h *host) error { return h.createIn("file:/home") },
	},
	"create on a partition": {
		prepare: func(*testing.T, *host) {},
		do:      func(h *host) error { return h.createOnData() },
	},
	"attach": {
		prepare: func(*testing.T, *host) {},
		do:      func(h *host) error { _, err := h.m.Attach(context.Background(), h.plain); return err },
	},
	"attach with a layer": {
		prepare: formatted,
		do:      func(h *host) error { return h.attachLayer(eraLayer) },
	},
	"create above a layer": {
		prepare: func(t *testing.T, h *host) { check(t, h.attachLayer(eraLayer)) },
		do:      func(h *host) error { return h.createOnData() },
	},
	"adopt": {
		prepare: func(*testing.T, *host) {},
		do:      func(h *host) error { _, err := h.m.Attach(context.Background(), h.plain); return err },
		on:      newBareHost,
	},
	"mount": {
		prepare: func(t *testing.T, h *host) { h.create(t, both()) },
		do:      func(h *host) error { _, err := h.m.Mount(h.ctx, "nightly", "/mnt/n"); return err },
	},
}

// TestFailedOperationChangesNothing fails every system call of every operation
// in turn, with errors a kernel gives. Whatever reports an error has left the
// host as it was.
func TestFailedOperationChangesNothing(t *testing.T) {
	hostOnly(t)
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op.kernels(t, func(t *testing.T, o ioctltest.Options) { failEach(t, o, op, unix.EIO) })
			if op.on != nil {
				return
			}
			for _, errno := range []unix.Errno{unix.ENOMEM, unix.EBUSY, unix.ENOSPC} {
				failEach(t, ioctltest.Options{Udev: true}, op, errno)
			}
		})
	}
}

// kernels are all fakes; one for hosts of their own kind, which take long.
func (op operation) kernels(t *testing.T, f func(t *testing.T, o ioctltest.Options)) {
	t.Helper()
	if op.on == nil {
		kernels(t, f)
	} else {
		f(t, ioctltest.Options{Release: "6.12.0", Udev: true})
	}
}

func failEach(t *testing.T, o ioctltest.Options, op operation, errno unix.Errno) {
	t.Helper()
	for n := 1; ; n += step() {
		h := op.host(t, o)
		before := withoutLocks(h.Snapshot())
		failed := h.failNth(n, errno)
		err := op.do(h)
		h.Fail(nil)
		if failed.past {
			if err != nil {
				t.Fatalf("without a fault: %v", err)
			}
			return
		}
		what := fmt.Sprintf("%v at call %d, %s", errno, n, failed)
		h.healthy(t)
		if err == nil {
			continue // the call did not matter, or was repeated
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%s: %v is no *Error", what, err)
		}
		switch {
		case errors.Is(err, ErrUnrecovered):
			recoverTo(t, h, what, before)
			continue
		case errors.Is(err, ErrPartial): // done, but not reported as it should be
			check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
			same(t, what+": "+err.Error(), withoutStores(before), withoutStores(h.Snapshot()))
			continue
		}
		same(t, what+": "+err.Error(), before, withoutLocks(h.Snapshot()))
		if t.Failed() {
			return
		}
	}
}

// withoutLocks leaves lock files out: an empty one that nobody holds means
// nothing, and one that cannot be locked cannot be removed safely.
func withoutLocks(state string) string {
	lines := slices.DeleteFunc(strings.Split(state, "\n"), func(l string) bool { return strings.Contains(l, "/lock/") })
	return withoutCopies(strings.Join(lines, "\n"))
}

// withoutCopies leaves out that a raid or a mirror must not be renamed after its slot was
// cleared: its table cannot be loaded twice.
func withoutCopies(state string) string {
	for _, copies := range copiesLive.FindAllStringSubmatch(state, -1) {
		state = regexp.MustCompile(`(?m)^(dm `+copies[1]+` .*) not-to-be-renamed`).ReplaceAllString(state, "$1")
	}
	return state
}

var copiesLive = regexp.MustCompile(`(?m)^dm (\S+) live 0 \d+ (?:raid|mirror) `)

// withoutStores leaves out what is on disks that were stores, too: nothing is put
// back once a set existed, or when another process takes it down.
func withoutStores(state string) string {
	lines := slices.DeleteFunc(strings.Split(withoutLocks(state), "\n"), func(l string) bool {
		return strings.HasPrefix(l, "disk vdc ") || strings.HasPrefix(l, "disk vdd ")
	})
	return strings.Join(lines, "\n")
}

// recoverTo expects that recover finishes what an undo could not.
func recoverTo(t *testing.T, h *host, what, before string) {
	t.Helper()
	if _, err := h.m.Recover(context.Background()); err != nil {
		t.Errorf("%s: recover: %v", what, err)
	}
	same(t, what+", then recover", withoutStores(before), withoutStores(h.Snapshot()))
}

// step is how many calls further the next one is looked at: all of them at full
// length, every seventh in normal runs, a few in short ones. Operations and
// fakes differ in length, so that together they look at nearly all.
func step() int {
	switch {
	case testing.Short():
		return 37
	case lab.Full():
		return 1
	}
	return 7
}

// sparse is a larger step, for operations that are long.
func sparse() int {
	if lab.Full() {
		return 1
	}
	return 2*step() + 5
}

// fault is a call that was made to fail.
type fault struct {
	ioctltest.Call
	past bool // there was no such call
}

// failNth makes one call fail.
func (h *host) failNth(n int, errno unix.Errno) *fault {
	f, first := &fault{past: true}, h.Calls()
	h.Fail(func(c ioctltest.Call) error {
		if c.N-first != n {
			return nil
		}
		f.Call, f.past = c, false
		if c.Op == "semremove" {
			return nil // a semaphore that cannot be removed is lost to everybody
		}
		return errno
	})
	return f
}

// TestEverythingFailsFromHereOn has the kernel refuse all changes from some call
// on, so that taking back fails too. The error says so, and recover ends in the
// state before once the kernel works again.
func TestEverythingFailsFromHereOn(t *testing.T) {
	hostOnly(t)
	for _, name := range []string{"create", "create on copies", "adopt"} {
		t.Run(name, func(t *testing.T) { failFromHereOn(t, operations[name]) })
	}
}

func failFromHereOn(t *testing.T, op operation) {
	t.Helper()
	for n := 1; ; n++ { // changes, not calls: what fails first makes the difference
		h := op.host(t, ioctltest.Options{Udev: true})
		before := h.Snapshot()
		var made atomic.Int64 // calls of a window run on several threads
		h.Fail(func(c ioctltest.Call) error {
			if c.Op == "close" || !changes(c) || made.Add(1) < int64(n) {
				return nil
			}
			return unix.EIO
		})
		err := op.do(h)
		h.Fail(nil)
		if made.Load() < int64(n) {
			check(t, err)
			return
		}
		if err == nil {
			t.Fatalf("from change %d on: no error", n)
		}
		h.healthy(t)
		h.Exit() // the process ends; what it held open is closed
		recoverTo(t, h, fmt.Sprintf("from change %d on: %v", n, err), before)
		if t.Failed() {
			return
		}
	}
}

// changes tells whether a call changes more than a lock.
func changes(c ioctltest.Call) bool {
	switch c.Request {
	case "DM_DEV_CREATE", "DM_TABLE_LOAD", "DM_DEV_SUSPEND", "DM_DEV_RESUME", "DM_DEV_REMOVE", "DM_TABLE_CLEAR":
		return true
	}
	return false
}

// TestResumedWhileHandedOver: somebody resumes a front inside the window, before
// or after its base. Its new table is live then, and the base must run on.
func TestResumedWhileHandedOver(t *testing.T) {
	hostOnly(t)
	for n, op := range []operation{operations["create on copies"], killable()["remove from copies"]} {
		for _, at := range []string{"DM_DEV_RESUME dmsnap-nightly-home", "DM_DEV_STATUS var"} {
			h, done := op.host(t, ioctltest.Options{Udev: true}), false
			before := h.Snapshot()
			h.Fail(func(c ioctltest.Call) error {
				if c.Request+" "+c.Name == at && !done && strings.Contains(h.Snapshot(), "dm var 254:1 uuid=LVM-var open=1 suspended") {
					h.Suspend("var", false)
					done = true
				}
				return nil
			})
			err := op.do(h)
			h.Fail(nil)
			h.healthy(t)
			what := fmt.Sprintf("%s: %v", at, err)
			switch {
			case !done: // removals resume no image
				check(t, err)
				continue
			case err == nil:
				t.Errorf("%s: not noticed", what)
			case n == 1: // var has its own table now
				finishRemoval(t, h, what)
				h.healthy(t)
				continue
			}
			same(t, what, withoutLocks(before), withoutLocks(h.Snapshot()))
		}
	}
}
