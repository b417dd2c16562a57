package dm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/e2e/leak"
)

// TestHungWindow has each call of a window wait, on a real kernel, until somebody
// has written to the origin: only the guard can end that. The cut is given up and
// nothing has changed.
func TestHungWindow(t *testing.T) {
	lab.Wide(t)
	v := newGuarded(t)
	state := t.TempDir()
	for n := 1; v.hangIn(t, state, n) && !t.Failed(); n++ {
	}
}

func (v guarded) hangIn(t *testing.T, state string, n int) (more bool) {
	t.Helper()
	m := New(Options{StateDir: state, Guard: []string{"/proc/self/exe", "guard"}})
	at, hung := 0, ""
	m.fail = func(s plan.Step) error {
		if s.Phase != plan.Window {
			return nil
		}
		if at++; at == n && n > 1 { // before the first nobody is held
			hung = s.String()
			v.writable(t)
		}
		return nil
	}
	_, err := m.Create(context.Background(), CreateRequest{
		Name: "hung", Origins: []string{v.dir}, Stores: map[string]string{"": v.store}, FreezeTimeout: 500 * time.Millisecond,
	})
	if hung == "" {
		check(t, err)
		check(t, m.Remove(context.Background(), RemoveRequest{Name: "hung"}))
		return n == 1
	}
	if !errors.Is(err, ErrFreeze) {
		t.Errorf("hung before %s: %v", hung, err)
	}
	v.writable(t)
	if after := string(output(t, "dmsetup", "table")); after != v.before {
		t.Errorf("hung before %s: tables before:\n%safter:\n%s", hung, v.before, after)
	}
	return true
}

// TestHungDevice has the disk beneath an origin stop answering at a step of a
// create, on a real kernel: before the window somebody is told; inside it the
// guard's time runs out. When the disk is back nothing has changed and writers
// go on.
func TestHungDevice(t *testing.T) {
	lab.Wide(t)
	v := newStuck(t)
	for _, action := range []plan.Action{plan.SyncFS, plan.Freeze} {
		t.Run(string(action), func(t *testing.T) { v.stuck(t, action) })
	}
}

// newStuck has the origin stand on a device that can be made to stop.
func newStuck(t *testing.T) guarded {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	leak.Check(t)
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	for _, d := range []struct{ name, beneath string }{{"under", disks[0]}, {"guarded", "/dev/mapper/under"}} {
		output(t, "dmsetup", "create", d.name, "--table", "0 131072 linear "+d.beneath+" 0")
		t.Cleanup(func() { output(t, "dmsetup", "remove", "--retry", d.name) })
	}
	return guardedOn(t, disks[1])
}

func (v guarded) stuck(t *testing.T, action plan.Action) {
	log := newLines()
	m := New(Options{StateDir: t.TempDir(), Guard: []string{"/proc/self/exe", "guard"}, Logger: log.logger()})
	m.slowAfter = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reached, freed := make(chan struct{}), make(chan error, 1)
	m.fail = func(s plan.Step) error {
		if s.Action != action {
			return nil
		}
		defer close(reached)
		return errors.Join(
			exec.Command("dd", "if=/dev/zero", "of="+v.dir+"/dirty", "bs=4k", "count=64", "status=none").Run(),
			exec.Command("dmsetup", "suspend", "--nolockfs", "--noflush", "under").Run())
	}
	want := ErrFreeze
	if action == plan.SyncFS {
		want = context.Canceled
	}
	go func() {
		<-reached
		var err error
		if action == plan.SyncFS {
			<-log.written
			cancel()
		} else {
			err = takenOver()
		}
		freed <- errors.Join(err, exec.Command("dmsetup", "resume", "under").Run())
	}()
	_, err := m.Create(ctx, CreateRequest{
		Name: "stuck", Origins: []string{v.dir}, Stores: map[string]string{"": v.store}, FreezeTimeout: 500 * time.Millisecond,
	})
	if !errors.Is(err, want) {
		t.Errorf("stuck in %s: %v, want %v", action, err, want)
	}
	check(t, <-freed)
	v.writable(t)
	if after := string(output(t, "dmsetup", "table")); after != v.before {
		t.Errorf("tables before:\n%safter:\n%s", v.before, after)
	}
}

// takenOver waits until the guard has dropped what waited in the front's inactive
// slot: it is at work.
func takenOver() error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		table, err := exec.Command("dmsetup", "table", "--inactive", "guarded").Output()
		if err != nil || len(bytes.TrimSpace(table)) == 0 {
			return err
		}
	}
	return errors.New("the guard does nothing")
}
