package dm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestTortureDisks kills the tool at random moments while the disks beneath are
// bad: stores that fail now and then, stores and origins that are slow,
// origins that hang for longer than the deadline. Whatever becomes of the image,
// nobody is held for ever, and origins have every write.
func TestTortureDisks(t *testing.T) {
	lab.Long(t)
	for _, c := range []struct{ name, device, target string }{
		{"store fails", "one-cow", "flakey %s %s 6 1"},
		{"store slow", "one-cow", "delay %s %s 30"},
		{"origin slow", "one", "delay %[1]s %[2]s 0 %[1]s %[2]s 30"},
		{"origin hangs", "one", "delay %[1]s %[2]s 0 %[1]s %[2]s 1200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newTorture(t)
			x.bad = true
			good := strings.TrimSpace(string(output(t, "dmsetup", "table", c.device)))
			f := strings.Fields(good) // 0 LENGTH linear DEVICE OFFSET
			reload(t, c.device, strings.Join(f[:2], " ")+" "+fmt.Sprintf(c.target, f[3], f[4]))
			x.killSome(t, lab.Rounds(t, 2, 10), func() {}, func() {})
			reload(t, c.device, good)
		})
	}
}

// TestTortureUnreadable kills the tool while the first KiB of an origin can neither be
// read nor written. A filesystem never touches that, but the chunk that it is in has
// the superblock: copying it fails.
func TestTortureUnreadable(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	x.bad = true
	own := strings.TrimSpace(string(output(t, "dmsetup", "table", "one")))
	var length, start int
	var disk string
	_, err := fmt.Sscanf(own, "0 %d linear %s %d", &length, &disk, &start)
	check(t, err)
	output(t, "dmsetup", "create", "beneath", "--table", own)
	t.Cleanup(func() { output(t, "dmsetup", "remove", "--retry", "beneath") })
	reload(t, "one", fmt.Sprintf("0 %d linear /dev/mapper/beneath 0", length))
	defer reload(t, "one", own)
	x.killSome(t, lab.Rounds(t, 2, 20), func() {
		reload(t, "beneath", fmt.Sprintf("0 2 error\n2 %d linear %s %d", length-2, disk, start+2))
	}, func() { reload(t, "beneath", own) })
}

// killSome kills creates and removals at random moments, each after something went
// wrong and before that is mended.
func (x *torture) killSome(t *testing.T, rounds int, wrong, mended func()) {
	t.Helper()
	seen := map[string]int{}
	operations := []tortured{{"create", "create", 2, nil}, {"remove", "remove", 2, []string{"victim"}}}
	for i := range rounds {
		op := operations[i%2]
		x.prepare(t, op)
		wrong()
		v := x.fate(op, byNothing, 0).start(t)
		time.Sleep(time.Duration(rand.Int64N(int64(4 * time.Second))))
		_ = v.Process.Kill() // it may have ended
		v.met(t, byNothing)
		mended()
		seen[op.name+": "+x.settled(t, op)]++
	}
	x.clear(t)
	t.Log(seen)
}

func reload(t *testing.T, device, table string) {
	t.Helper()
	output(t, "sh", "-c", `printf "$2" | dmsetup reload "$1"`, "sh", device, table)
	output(t, "dmsetup", "suspend", "--nolockfs", device)
	output(t, "dmsetup", "resume", device)
}

// TestTortureDescriptors lets the tool have more and more descriptors until it has
// enough. All the other times it fails without a trace.
func TestTortureDescriptors(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	op := underTorture()[1]
	for limit := 6; ; limit++ {
		x.prepare(t, op)
		f := x.fate(op, byNothing, 0)
		f.Descriptors = uint64(limit)
		v := f.start(t)
		v.met(t, byNothing)
		outcome := x.settled(t, op)
		code := v.ProcessState.ExitCode()
		if (outcome == "after") != (code == 0) {
			t.Errorf("%d descriptors: exit %d, and the state is the one %s", limit, code, outcome)
		}
		if code == 0 {
			t.Logf("%d descriptors are enough", limit)
			break
		}
		if limit > 100 || t.Failed() {
			t.Fatalf("%d descriptors: exit %d", limit, code)
		}
	}
	x.clear(t)
}

// TestTortureMemory lets the tool and its guard have more and more memory until it is
// enough. All the other times the kernel kills one of them, or the runtime gives up.
func TestTortureMemory(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	root := t.TempDir()
	output(t, "mount", "-t", "cgroup2", "torture", root)
	t.Cleanup(func() { output(t, "umount", root) })
	check(t, os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0))
	group := filepath.Join(root, "torture")
	check(t, os.Mkdir(group, 0o700))
	t.Cleanup(func() { check(t, os.Remove(group)) })
	op := underTorture()[1]
	for limit := mib; ; limit += 64 << 10 {
		x.prepare(t, op)
		check(t, os.WriteFile(filepath.Join(group, "memory.max"), fmt.Append(nil, limit), 0))
		f := x.fate(op, byNothing, 0)
		f.Group = group
		v := f.start(t)
		v.met(t, byNothing)
		outcome := x.settled(t, op)
		code := v.ProcessState.ExitCode() // -1: killed
		t.Logf("%d KiB: exit %d, %s", limit>>10, code, outcome)
		if code == 0 != (outcome == "after") && code != -1 {
			t.Errorf("%d KiB: exit %d, and the state is the one %s", limit>>10, code, outcome)
		}
		if code == 0 {
			break
		}
		if limit > 100*mib || t.Failed() {
			t.Fatalf("%d KiB: exit %d", limit>>10, code)
		}
	}
	x.clear(t)
}

// TestTortureSpace has less and less room for the state directory.
func TestTortureSpace(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	dir := t.TempDir()
	output(t, "mount", "-t", "tmpfs", "-o", "size=128k", "full", dir)
	t.Cleanup(func() { output(t, "umount", dir) })
	x.state = filepath.Join(dir, "state")
	x.m = New(Options{StateDir: x.state, NoGuard: true})
	op := underTorture()[0]
	for _, room := range []int{64, 16, 12, 8, 4, 0} {
		x.prepare(t, op)
		filler := filepath.Join(dir, "filler")
		leaveRoom(t, filler, room<<10)
		_, err := x.m.Create(context.Background(), tortureSet("victim", op.n))
		t.Logf("%d KiB: %v", room, err)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%d KiB: %v", room, err)
		}
		if err != nil {
			if after := x.tables(t); after != x.before {
				t.Errorf("%d KiB: tables before:\n%safter:\n%s", room, x.before, after)
			}
		}
		check(t, os.Remove(filler))
	}
	x.clear(t)
}

// leaveRoom leaves some bytes of a filesystem.
func leaveRoom(t *testing.T, path string, room int) {
	t.Helper()
	var fs unix.Statfs_t
	check(t, unix.Statfs(filepath.Dir(path), &fs))
	check(t, os.WriteFile(path, make([]byte, max(0, int(fs.Bavail)*int(fs.Bsize)-room)), 0o600))
}

// TestTortureClock turns the clock back and forth by an hour all the time. Neither
// windows nor leases go by it.
func TestTortureClock(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- turnClock(stop) }()
	defer func() {
		close(stop)
		check(t, <-stopped)
	}()
	r := tortureSet("victim", 2)
	r.FreezeTimeout, r.Lease = 30*time.Second, Lease{For: 45 * time.Minute}
	for range lab.Rounds(t, 2, 20) {
		set, err := x.m.Create(context.Background(), r)
		check(t, err)
		if window := set.Receipt.Window; window <= 0 || window > 30*time.Second {
			t.Errorf("the window took %v", window)
		}
		_, err = x.m.Recover(context.Background()) // removes what has expired
		check(t, err)
		check(t, x.m.Remove(context.Background(), RemoveRequest{Name: "victim"}))
	}
}

// turnClock ends with the right time.
func turnClock(stop <-chan struct{}) error {
	var real, mono unix.Timespec
	err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &real), unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono))
	base := real.Nano() - mono.Nano()
	for hours := int64(1); err == nil; hours = -hours {
		select {
		case <-stop:
			hours = 0
		case <-time.After(3 * time.Millisecond):
		}
		var now unix.Timespec
		err = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
		wanted := unix.NsecToTimespec(base + now.Nano() + hours*int64(time.Hour))
		err = errors.Join(err, unix.ClockSettime(unix.CLOCK_REALTIME, &wanted))
		if hours == 0 {
			return err
		}
	}
	return err
}
