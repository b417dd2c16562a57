package dm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func (v guarded) fate(t *testing.T, h how, step int) fate {
	return fate{
		Op: "create", Set: "victim", Origins: []string{v.dir}, Stores: map[string]string{"": v.store},
		State: filepath.Join(t.TempDir(), "state"), How: h, Step: step, Window: true,
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
		check(t, New(Options{StateDir: f.State}).Remove(context.Background(), "victim"))
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
