package dm

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// plainTorture is a mounted partition under a verifying writer.
type plainTorture struct{ torture }

func newPlainTorture(t *testing.T) *plainTorture {
	t.Helper()
	lab.Need(t)
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	v := lab.Volume{Device: lab.Partition(t, disks[0], 1, 1, 64), Store: lab.Store(t, "cow", disks[1], 0, 96)}
	v.Name = filepath.Base(v.Device)
	lab.Format(t, "ext4", v.Device)
	v.Dir = lab.Mount(t, v.Device)
	x := &plainTorture{torture{state: filepath.Join(t.TempDir(), "state"), vols: []lab.Volume{v}}}
	x.m = New(Options{StateDir: x.state})
	x.writers = []*lab.Writer{lab.StartWriter(t, ring, filepath.Join(v.Dir, "ring"))}
	t.Cleanup(func() { x.verifyOrigins(t) })
	return x
}

// The states of the partition between operations.
const (
	plainAlone    = "plain"
	plainAttached = "attached"
	plainWithSet  = "with a set"
)

// TestTortureAttach ends the tool at every step of what brings a mounted
// partition under device-mapper and takes it out again, in every way, while a
// writer runs. Nobody is held for ever, and recover ends in the state before or
// after.
func TestTortureAttach(t *testing.T) {
	x := newPlainTorture(t)
	for _, op := range []struct{ name, from, to string }{
		{"attach", plainAlone, plainAttached},
		{"detach", plainAttached, plainAlone},
		{"create", plainAlone, plainWithSet},
		{"remove", plainWithSet, plainAlone},
	} {
		t.Run(op.name, func(t *testing.T) {
			for _, h := range []how{byKill, byKillInside, byStop, withGuard} {
				for n := 1; ; n++ {
					x.become(t, op.from)
					step, state := x.endAt(t, op.name, h, n)
					if state != op.from && state != op.to {
						t.Fatalf("%s of %s at %s: the partition is %s", h, op.name, step, state)
					}
					if step == "" {
						break
					}
					t.Logf("%s, step %d, %s, %s: %s", op.name, n, x.plain(step), h, state)
				}
			}
			x.become(t, plainAlone)
		})
	}
}

// become brings the partition into a state.
func (x *plainTorture) become(t *testing.T, want string) {
	t.Helper()
	ctx, device := context.Background(), x.vols[0].Device
	have := x.is(t)
	if have == want {
		return
	}
	switch have {
	case plainWithSet:
		check(t, x.m.Remove(ctx, "victim"))
	case plainAttached:
		check(t, x.m.Detach(ctx, device))
	}
	switch want {
	case plainWithSet:
		_, err := x.m.Create(ctx, CreateRequest{Name: "victim", Origins: []string{device}, Stores: map[string]string{device: x.vols[0].Store}})
		check(t, err)
	case plainAttached:
		_, err := x.m.Attach(ctx, device)
		check(t, err)
	}
}

// is tells the state, as the kernel and dmsnap have it.
func (x *plainTorture) is(t *testing.T) string {
	t.Helper()
	set, err := x.m.Show(context.Background(), "victim")
	if err == nil {
		x.verifyImages(t, set)
		return plainWithSet
	}
	if !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	tables := x.tables(t)
	if !strings.Contains(tables, "dmsnap-") {
		return plainAlone
	}
	r, err := x.m.Doctor(context.Background(), x.vols[0].Device)
	check(t, err)
	status := strings.Fields(string(output(t, "dmsetup", "status", "dmsnap-base-"+x.vols[0].Name)))
	if !r.Origins[0].Attached || len(status) != 5 || status[3] == "-" || status[4] != "0" {
		t.Fatalf("something is left: %v\n%s", status, tables)
	}
	return plainAttached
}

// endAt ends an operation at its step n, and tells what recover makes of it; no
// step if there are fewer.
func (x *plainTorture) endAt(t *testing.T, op string, h how, n int) (step, state string) {
	t.Helper()
	device := x.vols[0].Device
	v := fate{
		Op: op, Set: "victim", Origins: []string{device}, Stores: map[string]string{device: x.vols[0].Store},
		State: x.state, How: h, Step: n,
	}.start(t)
	step = v.met(t, h)
	if h == withGuard {
		_, err := x.m.Thaw(context.Background(), false)
		check(t, err)
	}
	x.writing(t)
	if h == byStop {
		if code := v.wake(t); code != 0 && (code != 8 || op != "create") {
			t.Errorf("a tool that was stopped at %q ends with %d", step, code)
		}
	}
	_, err := x.m.Recover(context.Background())
	check(t, err)
	x.writing(t)
	return step, x.is(t)
}
