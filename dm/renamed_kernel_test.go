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

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// guardGone waits until the guard of a dead process has done all its work.
func guardGone(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		comms, err := filepath.Glob("/proc/[0-9]*/comm")
		check(t, err)
		alive := false
		for _, comm := range comms {
			name, _ := os.ReadFile(comm) // it may have ended
			alive = alive || strings.TrimSpace(string(name)) == "window-guard"
		}
		if !alive {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the guard does not end")
		}
	}
}

// TestRenamedAfterFailure: a logical volume is renamed after a create that failed or was
// killed in its window, then cut as if nothing had happened, again and again. Kernels that
// do not survive a rename after a clear panic within a few rounds.
func TestRenamedAfterFailure(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	disks := lab.Disks(t, 2)
	lab.Group(t, "vg", disks[0])
	names := [2]string{"home", "casa"}
	lab.Format(t, "ext4", lab.LogicalVolume(t, "vg", names[0], "-L", "64M"))
	dir := lab.Mount(t, "/dev/mapper/vg-"+names[0])
	for round := range lab.Rounds(t, 6, 15) {
		state := filepath.Join(t.TempDir(), fmt.Sprint(round))
		o := Options{StateDir: state, Guard: []string{"/proc/self/exe", "guard"}}
		r := CreateRequest{Name: "victim", Origins: []string{dir}, Stores: map[string]string{"": disks[1]}}
		if round%2 == 0 {
			m := New(o)
			m.fail = failInWindow
			if _, err := m.Create(context.Background(), r); err == nil {
				t.Fatal("it did not fail")
			}
		} else {
			f := fate{Op: "create", Set: r.Name, Origins: r.Origins, Stores: r.Stores, State: state, How: byKill, Step: 1 + round%windowSteps, Window: true}
			if f.start(t).met(t, byKill) == "" {
				t.Fatal("the victim lived")
			}
			guardGone(t)
		}
		out, err := exec.Command("lvrename", "-qq", "--config=activation/monitoring=0", "vg", names[0], names[1]).CombinedOutput()
		if err != nil {
			t.Fatalf("lvrename: %v: %s", err, out)
		}
		names[0], names[1] = names[1], names[0]
		m := New(o)
		_, err = m.Create(context.Background(), r)
		check(t, err)
		check(t, m.Remove(context.Background(), RemoveRequest{Name: r.Name}))
	}
}
