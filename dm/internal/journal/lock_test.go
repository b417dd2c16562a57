package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func lockedBy(t *testing.T, err error, key string, pid int) {
	t.Helper()
	l, ok := errors.AsType[*journal.LockedError](err)
	if !ok || l.Key != key || l.PID != pid || pid != 0 && !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", pid)) {
		t.Errorf("%v (%+v), not locked by %d on %s", err, l, pid, key)
	}
}

func TestLockIsExclusive(t *testing.T) {
	k, d := state(t)
	free := k.Snapshot()
	key := journal.OriginKey("254:3")
	l, err := d.Lock(1234567, key)
	check(t, err)
	_, err = d.Lock(8, key)
	lockedBy(t, err, key, 1234567)
	other, err := d.Lock(8, journal.SetKey("nightly"))
	check(t, err)
	check(t, other.Unlock())
	check(t, l.Unlock())
	if diff := cmp.Diff(free, k.Snapshot()); diff != "" {
		t.Errorf("after release:\n%s", diff)
	}
	l, err = d.Lock(8, key)
	check(t, err)
	check(t, l.Unlock())
	check(t, l.Unlock()) // once more does nothing
}

// TestKeysAreFileNames, and those of sets and origins do not meet.
func TestKeysAreFileNames(t *testing.T) {
	keys := []string{journal.OriginKey("254:3"), journal.SetKey("254:3"), journal.SetKey("origin-254_3"), journal.OriginKey("25:43")}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 4 || slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "/") }) {
		t.Error(keys)
	}
}

// TestLockAllOrNone: with one of three held, the other two are free afterwards.
func TestLockAllOrNone(t *testing.T) {
	k, d := state(t)
	l, err := d.Lock(7, "b")
	check(t, err)
	before := k.Snapshot()
	_, err = d.Lock(8, "c", "b", "a")
	lockedBy(t, err, "b", 7)
	if diff := cmp.Diff(before, k.Snapshot()); diff != "" {
		t.Error(diff)
	}
	check(t, l.Unlock())
}

// TestLockOrder: those of the host first, then always the same, whatever the caller's, and each key once. A
// file goes while it is still locked: later it may be somebody else's.
func TestLockOrder(t *testing.T) {
	k, d := state(t)
	before := k.Calls()
	l, err := d.Lock(7, "c", "a", "b", "a")
	check(t, err)
	check(t, l.Unlock())
	var got []string
	for _, c := range k.Log()[before:] {
		if c.Op == "flock" || c.Op == "unlink" || c.Op == "close" {
			got = append(got, c.Op+" "+strings.TrimPrefix(strings.Replace(c.Path, journal.HostLocks+"/", "host ", 1), "/var/lib/dmsnap/lock/"))
		}
	}
	want := []string{
		"flock host a", "flock host b", "flock host c", "flock a", "flock b", "flock c",
		"unlink c", "close c", "unlink b", "close b", "unlink a", "close a",
		"unlink host c", "close host c", "unlink host b", "close host b", "unlink host a", "close host a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestStaleLock: the file of a dead process holds nobody up, and the error names
// the new owner, not the old one.
func TestStaleLock(t *testing.T) {
	k, d := state(t)
	_, err := d.Lock(1234567, "a")
	check(t, err)
	k.Exit()
	l, err := d.Lock(8, "a")
	check(t, err)
	_, err = d.Lock(9, "a")
	lockedBy(t, err, "a", 8)
	check(t, l.Unlock())
}

// TestOwnerUnknown: a lock whose owner has not written its pid yet.
func TestOwnerUnknown(t *testing.T) {
	for _, text := range []string{"", "\n", "x"} {
		k, d := state(t)
		k.WriteFile(d.Path+"/lock/a", text)
		f, err := k.Border().Open(d.Path+"/lock/a", unix.O_RDWR, 0)
		check(t, err)
		check(t, f.Lock(unix.LOCK_EX|unix.LOCK_NB))
		_, err = d.Lock(9, "a")
		lockedBy(t, err, "a", 0)
		check(t, f.Close())
	}
}

// TestUnlinkRace: the holder lets go between our open and our flock. The lock on
// the file it removed would be worth nothing.
func TestUnlinkRace(t *testing.T) {
	for _, next := range []bool{false, true} { // somebody else is quicker
		k, d := state(t)
		holder, err := d.Lock(7, "a")
		check(t, err)
		var quicker *journal.Locks
		once := true
		k.Fail(func(c ioctltest.Call) error {
			if c.Op != "flock" || !once {
				return nil
			}
			once = false
			check(t, holder.Unlock())
			if next {
				quicker, err = d.Lock(8, "a")
				check(t, err)
			}
			return nil
		})
		l, err := d.Lock(9, "a")
		k.Fail(nil)
		if next {
			lockedBy(t, err, "a", 8)
			check(t, quicker.Unlock())
			continue
		}
		check(t, err)
		_, err = d.Lock(10, "a")
		lockedBy(t, err, "a", 9)
		check(t, l.Unlock())
	}
}

// TestLookIsNoOwner: somebody who only looks whether a lock is held does not make
// it held for others.
func TestLookIsNoOwner(t *testing.T) {
	k, d := state(t)
	const key = "set-a"
	looker, err := k.Border().Open(d.Path+"/lock/"+key, unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	check(t, looker.Lock(unix.LOCK_SH))
	looks := 0
	k.Fail(func(c ioctltest.Call) error {
		if c.Op == "flock" {
			if looks++; looks == 3 { // exclusive, shared, and once more
				check(t, looker.Close())
			}
		}
		return nil
	})
	l, err := d.Lock(8, key)
	k.Fail(nil)
	check(t, err)
	check(t, l.Unlock())
	if looks < 3 {
		t.Errorf("%d calls of flock: nobody looked", looks)
	}
}

// TestLockRace: whatever the interleaving, two are never inside at once.
func TestLockRace(t *testing.T) {
	k, d := state(t)
	free := k.Snapshot()
	var inside, entered atomic.Int32
	var all sync.WaitGroup
	for pid := range 4 {
		all.Go(func() {
			for range 300 {
				l, err := d.Lock(pid+1, "b", "a")
				if err != nil {
					if _, held := errors.AsType[*journal.LockedError](err); !held {
						t.Error(err)
					}
					continue
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				entered.Add(1)
				inside.Add(-1)
				if err := l.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if entered.Load() == 0 {
		t.Error("nobody ever held the lock")
	}
	if diff := cmp.Diff(free, k.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

// TestLockFailures fails every call of a lock and its release in turn: no
// descriptor stays, and the lock can be taken again.
func TestLockFailures(t *testing.T) {
	for n := 1; ; n++ {
		k, d := state(t)
		first := k.Calls() + n
		var failed *ioctltest.Call
		k.Fail(func(c ioctltest.Call) error {
			if c.N != first {
				return nil
			}
			failed = &c
			return unix.EIO
		})
		l, err := d.Lock(7, "b", "a")
		if err == nil {
			err = l.Unlock()
		}
		k.Fail(nil)
		if failed == nil {
			check(t, err)
			return
		}
		if err == nil && failed.Op != "stat" && failed.Op != "fstat" { // those are asked again
			t.Errorf("%v fails and nobody is told", failed)
		}
		if strings.Contains(k.Snapshot(), "\nfd ") {
			t.Errorf("%v fails and leaves a descriptor open:\n%s", failed, k.Snapshot())
		}
		l, err = d.Lock(8, "a", "b")
		if err != nil {
			t.Errorf("%v failed, and now: %v", failed, err)
			continue
		}
		check(t, l.Unlock())
	}
}
