package dm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/e2e/leak"
)

// windowSteps of one volume: freeze, prove, suspend, resume image, resume front,
// thaw.
const windowSteps = 6

// TestGuardEndsTheWindow kills and stops the tool before each call of its window
// on a real kernel. Writers go on without anybody's help, a tool that wakes up
// finds out that it lost, and recover leads to the state before.
func TestGuardEndsTheWindow(t *testing.T) {
	v := newGuarded(t)
	steps := everyStep()
	if lab.Narrow() {
		steps = []int{2, 4, 6}
	}
	for _, step := range steps {
		t.Run(fmt.Sprintf("killed before step %d", step), func(t *testing.T) { v.killed(t, step) })
		t.Run(fmt.Sprintf("stopped before step %d", step), func(t *testing.T) { v.stopped(t, step) })
	}
}

// guarded is a mounted origin of a guest, and a store for it.
type guarded struct{ dir, store, before, socket string }

func newGuarded(t *testing.T) guarded {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	leak.Check(t)
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	output(t, "dmsetup", "create", "guarded", "--table", "0 131072 linear "+disks[0]+" 0")
	t.Cleanup(func() { output(t, "dmsetup", "remove", "--retry", "guarded") })
	return guardedOn(t, disks[1])
}

// guardedOn puts a filesystem on the device guarded.
func guardedOn(t *testing.T, store string) guarded {
	t.Helper()
	output(t, "mkfs.ext4", "-q", "-F", "/dev/mapper/guarded")
	output(t, "wipefs", "-aq", store)
	dir := t.TempDir()
	output(t, "mount", "/dev/mapper/guarded", dir)
	t.Cleanup(func() { output(t, "umount", dir) })
	return guarded{dir: dir, store: store, before: string(output(t, "dmsetup", "table"))}
}

// someSteps are those of a normal run, all of the window in a full one.
func someSteps(some ...int) []int {
	if !lab.Full() {
		return some
	}
	return everyStep()
}

func everyStep() (all []int) {
	for step := range windowSteps {
		all = append(all, step+1)
	}
	return all
}

// TestGuardServiceEndsTheWindow: the guard is a service's process, and the tool is
// killed with all of its own at each step of its window. Writers go on.
func TestGuardServiceEndsTheWindow(t *testing.T) {
	v := newGuarded(t)
	v.socket = guardService(t)
	for _, step := range someSteps(2, 4, 6) {
		t.Run(fmt.Sprintf("killed before step %d", step), func(t *testing.T) {
			f := v.fate(t, withGuard, step)
			victim := f.start(t)
			if victim.met(t, withGuard) == "" {
				t.Fatal("the victim lived")
			}
			v.writable(t)
			v.recovered(t, f.State)
		})
	}
	t.Run("stopped", func(t *testing.T) { v.stopped(t, 4) })
	t.Run("no service any more", func(t *testing.T) {
		v.socket += ".gone"
		v.killed(t, 4)
	})
	t.Run("a service that never answers", func(t *testing.T) {
		v.socket = listen(t, func(conn *os.File) error { return conn.Close() })
		v.killed(t, 4)
	})
}

// TestGuardIsNamed: the receipt says which guard there was, and neither its name nor
// its arguments are dmsnap's.
func TestGuardIsNamed(t *testing.T) {
	v := newGuarded(t)
	for _, service := range []bool{false, true} {
		want, o := "process", Options{StateDir: filepath.Join(t.TempDir(), "state"), Guard: []string{"/proc/self/exe", "guard"}}
		if service {
			want, o.GuardSocket = "service", guardService(t)
		}
		m := New(o)
		m.fail = func(s plan.Step) error {
			if s.Phase == plan.Window && s.Action == plan.Freeze {
				v.hidden(t)
			}
			return nil
		}
		set, err := m.Create(context.Background(), CreateRequest{Name: "named", Origins: []string{v.dir}, Stores: map[string]string{"": v.store}})
		check(t, err)
		if string(set.Receipt.Guard) != want {
			t.Errorf("the guard is %q, want %q", set.Receipt.Guard, want)
		}
		check(t, m.Remove(context.Background(), RemoveRequest{Name: "named"}))
	}
}

// hidden looks at the guard of a window.
func (v guarded) hidden(t *testing.T) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	check(t, err)
	found := 0
	for _, comm := range comms {
		name, _ := os.ReadFile(comm) // it may have ended
		if strings.TrimSpace(string(name)) != "window-guard" {
			continue
		}
		found++
		dir := filepath.Dir(comm)
		pid := filepath.Base(dir)
		line, err := os.ReadFile(dir + "/cmdline")
		check(t, err)
		score, err := os.ReadFile(dir + "/oom_score_adj")
		check(t, err)
		number, err := strconv.Atoi(pid)
		check(t, err)
		session, err := unix.Getsid(number)
		if err != nil || strings.Contains(string(line), "dmsnap") || strings.TrimSpace(string(score)) != "-1000" || session != number {
			t.Errorf("%q, score %s, session %d of %s, %v", line, score, session, pid, err)
		}
	}
	if found != 1 {
		t.Errorf("%d guards", found)
	}
}

// guardService is what a service manager does with a socket and Accept=yes.
func guardService(t *testing.T) (socket string) {
	t.Helper()
	return listen(t, func(conn *os.File) error {
		cmd := exec.Command("/proc/self/exe", "guard")
		cmd.ExtraFiles = []*os.File{conn}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		err := errors.Join(cmd.Start(), conn.Close())
		go func() { _ = cmd.Wait() }()
		return err
	})
}

func listen(t *testing.T, serve func(conn *os.File) error) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "guard.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return // closed
			}
			file, err := conn.File()
			if err := errors.Join(err, conn.Close(), serve(file)); err != nil {
				t.Error(err)
			}
		}
	}()
	return socket
}

// TestBothKilled in the window: thaw lets go, and puts back what the window switched
// on.
func TestBothKilled(t *testing.T) {
	v := newGuarded(t)
	for _, do := range []string{"thaw", "recover"} {
		f := v.fate(t, withGuard, 4)
		if f.start(t).met(t, withGuard) == "" {
			t.Fatal("the victim lived")
		}
		m := New(Options{StateDir: f.State, NoGuard: true})
		if do == "thaw" {
			done, err := m.Thaw(context.Background(), false)
			check(t, err)
			if done.Expedited != "0" || len(done.Resumed) != 1 || len(done.Thawed) != 1 {
				t.Errorf("%+v", done)
			}
		} else {
			done, err := m.Recover(context.Background())
			check(t, err)
			if done.Expedited != "0" {
				t.Errorf("%+v", done)
			}
		}
		v.writable(t)
		v.recovered(t, f.State)
	}
}

// TestRenamedWhileHeld: the origin is renamed at each step of the window, and the
// tool goes on, is killed, or stands still. Writers go on.
func TestRenamedWhileHeld(t *testing.T) {
	lab.Long(t)
	v := newGuarded(t)
	for _, h := range []how{byNothing, byKill, byStop} {
		for _, step := range someSteps(4, 5, 6) {
			t.Run(fmt.Sprintf("%s before step %d", h, step), func(t *testing.T) {
				f := v.fate(t, h, step)
				f.Rename = [2]string{"guarded", "renamed"}
				// On a slow machine dmsetup takes longer than the usual second. Were the guard to
				// clear the slot meanwhile, the rename would be what no kernel survives.
				f.Timeout = 10 * time.Second
				victim := f.start(t)
				if victim.met(t, h) == "" {
					t.Fatal("its fate was not met")
				}
				v.writable(t)
				switch h {
				case byStop:
					victim.wake(t)
				case byKill:
					guardGone(t)
				}
				output(t, "dmsetup", "rename", "renamed", "guarded")
				_, err := New(Options{StateDir: f.State, NoGuard: true}).Recover(context.Background())
				check(t, err)
				if err := New(Options{StateDir: f.State, NoGuard: true}).Remove(context.Background(), RemoveRequest{Name: "victim"}); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				v.recovered(t, f.State)
			})
		}
	}
}

func (v guarded) fate(t *testing.T, h how, step int) fate {
	return fate{
		Op: "create", Set: "victim", Origins: []string{v.dir}, Stores: map[string]string{"": v.store},
		State: filepath.Join(t.TempDir(), "state"), How: h, Step: step, Window: true, Socket: v.socket,
	}
}

func (v guarded) killed(t *testing.T, step int) {
	f := v.fate(t, byKill, step)
	if f.start(t).met(t, byKill) == "" {
		t.Fatal("the victim lived")
	}
	died := time.Now()
	v.writable(t)
	t.Logf("death to a finished write: %v", time.Since(died))
	v.recovered(t, f.State)
}

func (v guarded) stopped(t *testing.T, step int) {
	f := v.fate(t, byStop, step)
	victim := f.start(t)
	if victim.met(t, byStop) == "" {
		t.Fatal("the victim did not stop")
	}
	v.writable(t)
	switch code := victim.wake(t); {
	case code == 0 && step == 1: // nothing was held: it may have gone on in time
		check(t, New(Options{StateDir: f.State, NoGuard: true}).Remove(context.Background(), RemoveRequest{Name: "victim"}))
	case code != 8:
		t.Errorf("a tool that lost exits %d, want 8", code)
	}
	v.recovered(t, f.State)
}

// writable waits until a write comes through. The limit is for a broken guard:
// nothing here asserts a time.
func (v guarded) writable(t *testing.T) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		done <- exec.Command("sh", "-c", "echo x > "+v.dir+"/f && sync "+v.dir+"/f").Run()
	}()
	select {
	case err := <-done:
		check(t, err)
	case <-time.After(time.Minute):
		output(t, "dmsetup", "resume", "guarded")
		output(t, "fsfreeze", "-u", v.dir)
		t.Fatal("writers are still held")
	}
}

// recovered ends what is left over and compares.
func (v guarded) recovered(t *testing.T, state string) {
	t.Helper()
	m := New(Options{StateDir: state, NoGuard: true})
	_, err := m.Recover(context.Background())
	check(t, err)
	if after := string(output(t, "dmsetup", "table")); after != v.before {
		t.Errorf("tables before:\n%safter:\n%s", v.before, after)
	}
	if expedited, err := os.ReadFile("/sys/kernel/rcu_expedited"); err != nil || strings.TrimSpace(string(expedited)) != "0" {
		t.Errorf("rcu_expedited is %q, %v", expedited, err)
	}
	v.writable(t)
}
