package lvmlock_test

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

const dir = "/run/lock/lvm"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHost(t *testing.T) *ioctltest.Kernel {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{})
	check(t, k.Border().MkdirAll(dir, 0o755))
	return k
}

// lvm2 has a group as a command does that changes it, or as one that reads it.
func lvm2(t *testing.T, k *ioctltest.Kernel, name string, how int) *ioctl.File {
	t.Helper()
	f, err := k.Border().Open(dir+"/"+name, unix.O_CREAT|unix.O_APPEND|unix.O_RDWR, 0o777)
	check(t, err)
	check(t, f.Lock(how|unix.LOCK_NB))
	return f
}

func take(k *ioctltest.Kernel, patience time.Duration) (*lvmlock.Lock, error) {
	return lvmlock.Take(context.Background(), k.Border(), "vg", patience, time.Hour)
}

// TestWhoHasAGroup: a command that changes it, one that reads it, and one that waits to
// change it keep us away; one that is about another group does not. No file stays.
func TestWhoHasAGroup(t *testing.T) {
	for _, tt := range []struct {
		file string
		how  int
		busy bool
	}{
		{"V_vg", unix.LOCK_EX, true}, {"V_vg", unix.LOCK_SH, true}, {"V_vg:aux", unix.LOCK_EX, true}, {"V_other", unix.LOCK_EX, false},
	} {
		k := newHost(t)
		other := lvm2(t, k, tt.file, tt.how)
		l, err := take(k, 0)
		held, busy := errors.AsType[*lvmlock.BusyError](err)
		if busy != tt.busy || busy && held.Group != "vg" || !busy && err != nil {
			t.Errorf("%s: %v", tt.file, err)
		}
		check(t, k.Border().Unlink(other.Path()))
		check(t, other.Close())
		if busy {
			l, err = take(k, 0)
			check(t, err)
		}
		if f, err := k.Border().Open(dir+"/V_vg", unix.O_RDWR, 0); err != nil || !errors.Is(f.Lock(unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK) {
			t.Errorf("%s: a command of lvm2 does not find it locked: %v", tt.file, err)
		}
		check(t, l.Unlock())
		left, err := k.Border().ReadDir(dir)
		check(t, err)
		if len(left) > 0 {
			t.Errorf("%s: left over: %v", tt.file, left)
		}
	}
}

// TestWaitsForAGroup: lvm2 ends while we wait, and removes the file that we have open.
func TestWaitsForAGroup(t *testing.T) {
	k := newHost(t)
	other, tries := lvm2(t, k, "V_vg", unix.LOCK_EX), 0
	k.Fail(func(c ioctltest.Call) error {
		if tries++; c.Op != "flock" || c.Path != other.Path() || other.Fd() < 0 {
			return nil
		}
		check(t, k.Border().Unlink(other.Path()))
		return other.Close()
	})
	l, err := take(k, time.Hour)
	check(t, err)
	k.Fail(nil)
	if _, err := k.Border().Stat(other.Path()); err != nil || !l.Locked() {
		t.Errorf("it has a file that nobody else can find: %v", err)
	}
	if _, err := take(k, 0); err == nil {
		t.Error("two have it")
	}
	check(t, l.Unlock())
}

// TestWaitIsCancelled: the end of a context is not told as a group that is busy.
func TestWaitIsCancelled(t *testing.T) {
	k := newHost(t)
	lvm2(t, k, "V_vg", unix.LOCK_EX)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := lvmlock.Take(ctx, k.Border(), "vg", time.Hour, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestHeldForAWhileOnly: whoever waits for us gets it when its time is over.
func TestHeldForAWhileOnly(t *testing.T) {
	k := newHost(t)
	l, err := lvmlock.Take(context.Background(), k.Border(), "vg", 0, time.Millisecond)
	check(t, err)
	next, err := take(k, time.Hour)
	check(t, err)
	if l.Locked() {
		t.Error("it is still locked")
	}
	check(t, l.Unlock())
	if !next.Locked() {
		t.Error("the first one's end is the second one's")
	}
	if _, err := k.Border().Stat(dir + "/V_vg"); err != nil {
		t.Errorf("the file of the second one: %v", err)
	}
	check(t, next.Unlock())
}

// TestDirOfLocks: as lvm2 is configured; made if lvm2 did not run since boot; told of if
// it cannot be used.
func TestDirOfLocks(t *testing.T) {
	for _, tt := range []struct{ main, local, want string }{
		{"", "", dir},
		{"global {\n\t# locking_dir = \"/x\"\n}\n", "", dir},
		{"global {\n\tlocking_dir = \"/var/lock/lvm\"\n}\n", "", "/var/lock/lvm"},
		{"global {\n\tlocking_dir = \"/x\"\n}\n", "global/locking_dir=\"/run/lvm\" # mine\n", "/run/lvm"},
	} {
		k := ioctltest.New(ioctltest.Options{})
		k.WriteFile("/etc/lvm/lvm.conf", tt.main)
		k.WriteFile("/etc/lvm/lvmlocal.conf", tt.local)
		if got := lvmlock.Dir(k.Border()); got != tt.want {
			t.Errorf("%q, %q: %s", tt.main, tt.local, got)
		}
		l, err := take(k, 0)
		check(t, err)
		check(t, l.Unlock())
		if _, err := k.Border().Stat(tt.want); err != nil {
			t.Error(err)
		}
	}
	k := newHost(t)
	k.Fail(func(c ioctltest.Call) error {
		if c.Op == "open" && c.Path == dir+"/V_vg:aux" {
			return unix.EROFS
		}
		return nil
	})
	_, err := take(k, 0)
	if d, ok := errors.AsType[*lvmlock.DirError](err); !ok || d.Dir != dir || !errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestFlockKeepsAway: flock(1), with the descriptors of another program, on a real
// filesystem.
func TestFlockKeepsAway(t *testing.T) {
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("flock(1) is not installed")
	}
	k := ioctl.Host()
	group := "dmsnap-test-of-nobody"
	if unix.Access(lvmlock.Dir(k), unix.W_OK) != nil {
		t.Skip("not root, or no LVM")
	}
	l, err := lvmlock.Take(context.Background(), k, group, 0, time.Hour)
	check(t, err)
	file := filepath.Join(lvmlock.Dir(k), "V_"+group)
	if err := exec.Command(flock, "--nonblock", file, "true").Run(); err == nil {
		t.Error("flock(1) got it too")
	}
	check(t, l.Unlock())
	if unix.Access(file, unix.F_OK) == nil {
		t.Errorf("left over: %s", file)
	}
}
