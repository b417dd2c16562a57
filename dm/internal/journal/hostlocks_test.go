package journal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestOneHostOneLock: processes with state directories of their own exclude each
// other, but for what belongs to the directory.
func TestOneHostOneLock(t *testing.T) {
	k, d := state(t)
	other := journal.Dir{Kernel: k.Border(), Path: "/var/lib/agent"}
	check(t, other.Init())
	l, err := d.Lock(7, journal.SetKey("nightly"), journal.OriginKey("254:3"), journal.MonitorKey)
	check(t, err)
	for _, key := range []string{journal.SetKey("nightly"), journal.OriginKey("254:3")} {
		_, err = other.Lock(8, key)
		lockedBy(t, err, key, 7)
		held, err := other.Owner(key)
		check(t, err)
		lockedBy(t, held, key, 7)
	}
	monitor, err := other.Lock(8, journal.MonitorKey)
	check(t, err)
	check(t, errors.Join(monitor.Unlock(), l.Unlock()))
}

// TestPreviousReleaseIsExcluded: it knows only the files in the state directory.
func TestPreviousReleaseIsExcluded(t *testing.T) {
	k, d := state(t)
	key := journal.OriginKey("254:3")
	l, err := d.Lock(7, key)
	check(t, err)
	f, err := k.Border().Open(d.Path+"/lock/origin-254_3", unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	if err := f.Lock(unix.LOCK_EX | unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("it has the lock, too: %v", err)
	}
	check(t, f.Close())
	check(t, l.Unlock())
	f, err = k.Border().Open(d.Path+"/lock/origin-254_3", unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	check(t, f.Lock(unix.LOCK_EX|unix.LOCK_NB))
	_, err = d.Lock(8, key)
	lockedBy(t, err, key, 0)
	held, err := d.Owner(key)
	check(t, err)
	lockedBy(t, held, key, 0)
	check(t, f.Close())
}

// TestManyStandOnOne: any number of stores may stand on a device, and nobody makes
// it an origin or a store meanwhile.
func TestManyStandOnOne(t *testing.T) {
	k, d := state(t)
	free := k.Snapshot()
	beneath, whole := journal.BeneathKey("8:0"), journal.OriginKey("8:0")
	one, err := d.Lock(7, journal.OriginKey("8:1"), beneath)
	check(t, err)
	two, err := d.Lock(8, journal.OriginKey("8:2"), beneath)
	check(t, err)
	_, err = d.Lock(9, whole)
	lockedBy(t, err, whole, 8)
	if held, err := d.Owner(whole); held != nil || err != nil {
		t.Errorf("owned by %v, %v", held, err)
	}
	check(t, one.Unlock())
	_, err = d.Lock(9, whole)
	lockedBy(t, err, whole, 8)
	check(t, two.Unlock())
	all, err := d.Lock(9, beneath, whole)
	check(t, err)
	if !all.Have(beneath) || !all.Have(whole) || all.Have(journal.OriginKey("8:1")) {
		t.Error("it does not know what it has")
	}
	_, err = d.Lock(7, beneath)
	lockedBy(t, err, beneath, 9)
	check(t, all.Unlock())
	if diff := cmp.Diff(free, k.Snapshot()); diff != "" {
		t.Errorf("after release:\n%s", diff)
	}
}

// TestLockedNamesTheDevice, not the file of the lock.
func TestLockedNamesTheDevice(t *testing.T) {
	k, d := state(t)
	k.AddDisk("vdc", ioctl.DevNo{Major: 252, Minor: 32}, 16<<20)
	home := k.AddDM("home", "LVM-home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:32 0"})
	for key, want := range map[string]string{
		journal.OriginKey(home.String()): "another dmsnap (pid 42) is using /dev/mapper/home",
		journal.OriginKey("252:32"):      "another dmsnap (pid 42) is using /dev/vdc",
		journal.BeneathKey("252:32"):     "another dmsnap (pid 42) is using /dev/vdc",
		journal.OriginKey("8:0"):         "another dmsnap (pid 42) is using device 8:0",
		journal.IDKey("5e7"):             "another dmsnap (pid 42) is using uuid 5e7",
		journal.SetKey("a-b_c"):          "another dmsnap (pid 42) is using set a-b_c",
		journal.MonitorKey:               "another dmsnap (pid 42) is already monitoring",
	} {
		owner := strings.Replace(key, "beneath-", "origin-", 1)
		l, err := d.Lock(42, owner)
		check(t, err)
		if _, err := d.Lock(8, key); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", key, err, want)
		}
		check(t, l.Unlock())
	}
}

// TestUnfitForLocks: there is one place for the locks of a host, and where that
// cannot be trusted nothing is done.
func TestUnfitForLocks(t *testing.T) {
	for name, spoil := range map[string]func(k *ioctltest.Kernel){
		"missing":             func(k *ioctltest.Kernel) { check(t, k.Border().Rmdir("/run")) },
		"writable by others":  func(k *ioctltest.Kernel) { check(t, k.Border().Chmod("/run", 0o1777)) },
		"not in memory":       func(k *ioctltest.Kernel) { k.Mount(ioctl.DevNo{Major: 8}, "/run", "ext4") },
		"no directory":        func(k *ioctltest.Kernel) { k.WriteFile("/run/dmsnap", "") },
		"locks for everybody": func(k *ioctltest.Kernel) { check(t, k.Border().MkdirAll("/run/dmsnap/lock", 0o777)) },
	} {
		k := ioctltest.New(ioctltest.Options{})
		k.AddDisk("sda", ioctl.DevNo{Major: 8}, 16<<20)
		if name == "missing" {
			check(t, k.Border().Unmount("/run", 0))
		}
		spoil(k)
		err := journal.Dir{Kernel: k.Border(), Path: "/var/lib/dmsnap"}.Init()
		if _, unfit := errors.AsType[*journal.LockDirError](err); !unfit {
			t.Errorf("%s: %v", name, err)
		}
	}
}
