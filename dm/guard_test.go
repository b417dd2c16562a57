package dm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/leak"
)

// The test binary plays three parts: the tests, a guard, and a tool that dies.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "guard":
		os.Exit(GuardMain())
	case os.Getenv("DMSNAP_VICTIM") != "":
		os.Exit(victim(strings.Fields(os.Getenv("DMSNAP_VICTIM"))))
	}
	os.Exit(m.Run())
}

// victim cuts a set and sends itself a signal right before step n of the
// window. Arguments: signal, step, state directory, mount point, store.
func victim(args []string) int {
	m := New(Options{StateDir: args[2], Guard: []string{"/proc/self/exe", "guard"}, LockMemory: true})
	at, step := 0, args[1]
	m.fail = func(s plan.Step) error {
		if s.Phase != plan.Window {
			return nil
		}
		if at++; fmt.Sprint(at) != step {
			return nil
		}
		sig := syscall.SIGKILL
		if args[0] == "stop" {
			sig = syscall.SIGSTOP
		}
		// To this very thread: it does not come back to its next call.
		return unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
	}
	_, err := m.Create(context.Background(), CreateRequest{
		Name: "victim", Origins: []string{args[3]}, Stores: map[string]string{"": args[4]}, FreezeTimeout: time.Second,
	})
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	if CodeOf(err) == CodeFreeze {
		return 8
	}
	return 1
}

// windowSteps of one volume: freeze, prove, suspend, resume image, resume front,
// thaw.
const windowSteps = 6

// TestGuardEndsTheWindow kills and stops the tool before each call of its window
// on a real kernel. Writers go on without anybody's help, a tool that wakes up
// finds out that it lost, and recover leads to the state before.
func TestGuardEndsTheWindow(t *testing.T) {
	v := newGuarded(t)
	for step := 1; step <= windowSteps; step++ {
		t.Run(fmt.Sprintf("killed before step %d", step), func(t *testing.T) { v.killed(t, step) })
		t.Run(fmt.Sprintf("stopped before step %d", step), func(t *testing.T) { v.stopped(t, step) })
	}
}

// guarded is a mounted origin of a guest, and a store for it.
type guarded struct{ dir, store, before string }

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

func (v guarded) start(t *testing.T, signal string, step int) (*exec.Cmd, string) {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("DMSNAP_VICTIM=%s %d %s %s %s", signal, step, state, v.dir, v.store))
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	return cmd, state
}

func (v guarded) killed(t *testing.T, step int) {
	cmd, state := v.start(t, "kill", step)
	if err := cmd.Wait(); err == nil {
		t.Fatal("the victim lived")
	}
	died := time.Now()
	v.writable(t)
	t.Logf("death to a finished write: %v", time.Since(died))
	v.recovered(t, state)
}

func (v guarded) stopped(t *testing.T, step int) {
	cmd, state := v.start(t, "stop", step)
	var ws unix.WaitStatus
	if _, err := unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil); err != nil || !ws.Stopped() {
		t.Fatalf("the victim did not stop: %v, %v", ws, err)
	}
	v.writable(t)
	check(t, cmd.Process.Signal(syscall.SIGCONT))
	err := cmd.Wait()
	switch code := cmd.ProcessState.ExitCode(); {
	case code == 0 && step == 1: // nothing was held: it may have gone on in time
		check(t, New(Options{StateDir: state}).Remove(context.Background(), "victim"))
	case code != 8:
		t.Errorf("a tool that lost exits %d (%v), want 8", code, err)
	}
	v.recovered(t, state)
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
	m := New(Options{StateDir: state})
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
