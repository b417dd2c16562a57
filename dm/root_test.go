package dm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestRootIsFrozen cuts the file system that everything lies on: for the tool it
// is the root, with program, state directory, log and working directory, and swap
// is on it too. Clean pages are thrown away before every step of the window, so
// that whatever is not locked in memory would be read from a device that answers
// nobody. The cut needs no such read, and the guard ends it as ever when the tool
// dies or stops.
func TestRootIsFrozen(t *testing.T) {
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "rooted", "ext4", disks[0], disks[1], 0, 256)
	rootFiles(t, v.Dir)
	w := lab.StartWriter(t, ring, filepath.Join(v.Dir, "ring"))
	f := fate{
		Op: "create", Set: "victim", Origins: []string{v.Device}, Stores: map[string]string{"": v.Store},
		State: "/state", Log: "/log", Root: v.Dir, Drop: true, Window: true,
		Timeout: time.Minute, // pages come back slowly while others work hard
	}
	m := New(Options{StateDir: filepath.Join(v.Dir, "state"), NoGuard: true})
	before := string(output(t, "dmsetup", "table"))

	ends(t, f)
	set, err := m.Show(context.Background(), "victim")
	check(t, err)
	if set.State != StateActive || set.Receipt.Consistency != Filesystem {
		t.Errorf("the set is %s at %s", set.State, set.Receipt.Consistency)
	}
	f.Op = "remove"
	ends(t, f)

	f.Op, f.Timeout = "create", 0
	for step := 1; step <= windowSteps; step++ {
		for _, h := range []how{byKill, byStop} {
			if !lab.Full() && !(h == byKill && step == 4 || h == byStop && step == windowSteps) {
				continue // with everything held, and right before the last call
			}
			f.How, f.Step = h, step
			victim := f.start(t)
			at := victim.met(t, h)
			if at == "" {
				t.Fatalf("%s before step %d: it never came there", h, step)
			}
			w.WaitFor(t, 2)
			if h == byStop {
				lost(t, victim.wake(t), step)
			}
			backTo(t, m, before, fmt.Sprintf("%s before %s", h, at))
		}
	}
}

// rootFiles puts the program and swap on a file system, and makes the mount
// points that a root needs.
func rootFiles(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"dev", "proc", "sys", "run"} {
		check(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	from, err := os.Open("/proc/self/exe")
	check(t, err)
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "victim"), os.O_CREATE|os.O_WRONLY, 0o755)
	check(t, err)
	_, err = io.Copy(to, from)
	check(t, err)
	check(t, to.Close())
	swap := filepath.Join(dir, "swap")
	output(t, "dd", "if=/dev/zero", "of="+swap, "bs=1M", "count=32", "status=none")
	check(t, os.Chmod(swap, 0o600))
	output(t, "mkswap", "-q", swap)
	output(t, "swapon", swap)
	t.Cleanup(func() { output(t, "swapoff", swap) })
}

// ends runs a victim to its end, which must be a good one, and expects that the
// window needed no page from the disk.
func ends(t *testing.T, f fate) {
	t.Helper()
	v := f.start(t)
	v.met(t, byNothing)
	said, err := os.ReadFile(v.said)
	check(t, err)
	if code := v.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("%s: exit %d\n%s", f.Op, code, said)
	}
	if !strings.Contains(string(said), "major faults in the window: 0\n") {
		t.Errorf("%s: %s", f.Op, said)
	}
}

// lost expects the exit status of a tool that the guard overtook. Before the first
// step nothing is held: it may have gone on in time.
func lost(t *testing.T, code, step int) {
	t.Helper()
	if code != 8 && (code != 0 || step > 1) {
		t.Errorf("stopped before step %d of the window it exits %d, want 8", step, code)
	}
}

// backTo recovers, removes what was completed, and compares the tables.
func backTo(t *testing.T, m *Manager, before, after string) {
	t.Helper()
	_, err := m.Recover(context.Background())
	check(t, err)
	if _, err := m.Show(context.Background(), "victim"); err == nil {
		check(t, m.Remove(context.Background(), RemoveRequest{Name: "victim"}))
	}
	if now := string(output(t, "dmsetup", "table")); now != before {
		t.Fatalf("%s: tables before:\n%safter:\n%s", after, before, now)
	}
}
