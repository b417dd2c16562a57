package dm

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// torture is two origins under verifying writers, with a state directory.
type torture struct {
	vols    []lab.Volume
	writers []*lab.Writer
	m       *Manager
	state   string
}

const ring = 64 // slots of a writer's file

func newTorture(t *testing.T) *torture {
	t.Helper()
	lab.Need(t)
	disks := lab.Disks(t, 2)
	x := &torture{state: filepath.Join(t.TempDir(), "state")}
	x.m = New(Options{StateDir: x.state})
	for i, name := range []string{"one", "two"} {
		v := lab.NewVolume(t, name, "ext4", disks[0], disks[1], 200*i, 96)
		lab.Store(t, name+"-first", disks[1], 200*i+96, 96)
		x.vols = append(x.vols, v)
		x.writers = append(x.writers, lab.StartWriter(t, ring, filepath.Join(v.Dir, "ring")))
	}
	t.Cleanup(func() { x.verifyOrigins(t) })
	return x
}

// tortureSet asks for a set of the first n origins; the set "first" has stores of
// its own.
func tortureSet(set string, n int) CreateRequest {
	r := CreateRequest{Name: set, Stores: map[string]string{}}
	for _, name := range []string{"one", "two"}[:n] {
		origin, store := "/dev/mapper/"+name, "-cow"
		if set == "first" {
			store = "-first"
		}
		r.Origins = append(r.Origins, origin)
		r.Stores[origin] = origin + store
	}
	return r
}

// tortured is an operation, from a state made by setup.
type tortured struct {
	name  string
	op    string
	n     int      // origins
	setup []string // sets there are before, the last of which is removed by a remove
}

// underTorture are the operations that docs/torture.md has a table of.
func underTorture() []tortured {
	return []tortured{
		{"create one volume", "create", 1, nil},
		{"create two volumes", "create", 2, nil},
		{"create beside a set", "create", 1, []string{"first"}},
		{"remove the last set", "remove", 2, []string{"victim"}},
		{"remove beside a set", "remove", 1, []string{"first", "victim"}},
	}
}

// TestTortureSteps ends the tool at every step of every operation, in every way,
// while writers run. Nobody is held for ever, and recover ends in the state
// before or after. A normal run takes some of the steps. What it logs becomes
// docs/torture.md.
func TestTortureSteps(t *testing.T) {
	lab.Wide(t)
	x := newTorture(t)
	round := 0
	for _, op := range underTorture() {
		t.Run(op.name, func(t *testing.T) {
			x.prepare(t, op)
			for n, step := range op.steps(t, x.m) {
				for _, h := range []how{byKill, byKillInside, byStop, withGuard} {
					if round++; !lab.Full() && round%61 != 1 {
						continue
					}
					outcome := x.once(t, op, h, n+1)
					t.Logf("torture | %s | %d | %s | %s | %s", op.name, n+1, x.plain(step), h, outcome)
					if t.Failed() {
						t.FailNow()
					}
				}
			}
			x.clear(t)
		})
	}
}

// steps are those of the plan of an operation.
func (op tortured) steps(t *testing.T, m *Manager) (steps []string) {
	t.Helper()
	var p *Plan
	var err error
	if op.op == "create" {
		p, err = m.PlanCreate(context.Background(), tortureSet("victim", op.n))
	} else {
		p, err = m.PlanRemove(context.Background(), "victim")
	}
	check(t, err)
	for _, s := range p.Steps {
		steps = append(steps, strings.TrimSpace(s.Phase+": "+s.Action+" "+s.Device))
	}
	return steps
}

// plain leaves out of a step where this run mounted things.
func (x *torture) plain(step string) string {
	for _, v := range x.vols {
		step = strings.ReplaceAll(step, v.Dir, "/mnt/"+v.Name)
	}
	return step
}

// TestTortureTimes kills the tool at random moments.
func TestTortureTimes(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	kills := lab.Rounds(t, 2, 200)
	seen := map[string]int{}
	all := underTorture()
	for i := range kills {
		op := all[i%len(all)]
		x.prepare(t, op)
		begin := time.Now()
		before := x.tables(t)
		v := x.fate(op, byNothing, 0).start(t)
		after := time.Duration(rand.Int64N(int64(1500 * time.Millisecond)))
		time.Sleep(after - time.Since(begin))
		_ = v.Process.Kill() // it may have ended
		v.met(t, byNothing)
		seen[op.name+": "+x.settled(t, op, before)]++
		if t.Failed() {
			t.Fatalf("%s, killed after %v", op.name, after)
		}
	}
	x.clear(t)
	for what, n := range seen {
		t.Logf("%s: %d", what, n)
	}
}

func (x *torture) fate(op tortured, h how, step int) fate {
	r := tortureSet("victim", op.n)
	return fate{Op: op.op, Set: "victim", Origins: r.Origins, Stores: r.Stores, State: x.state, How: h, Step: step}
}

// prepare makes the state an operation starts from: exactly the sets of setup.
func (x *torture) prepare(t *testing.T, op tortured) {
	t.Helper()
	prepareSets(t, x.m, op)
}

func prepareSets(t *testing.T, m *Manager, op tortured) {
	t.Helper()
	sets, err := m.List(context.Background())
	check(t, err)
	var have []string
	for _, s := range sets {
		if slices.Contains(op.setup, s.Name) && len(s.Volumes) == op.n {
			have = append(have, s.Name)
			continue
		}
		check(t, m.Remove(context.Background(), s.Name))
	}
	for _, name := range op.setup {
		if !slices.Contains(have, name) {
			_, err := m.Create(context.Background(), tortureSet(name, op.n))
			check(t, err)
		}
	}
}

func (x *torture) clear(t *testing.T) {
	t.Helper()
	x.prepare(t, tortured{})
}

func (x *torture) tables(t *testing.T) string { return string(output(t, "dmsetup", "table")) }

// once ends the tool at one step.
func (x *torture) once(t *testing.T, op tortured, h how, n int) (outcome string) {
	t.Helper()
	x.prepare(t, op)
	before := x.tables(t)
	v := x.fate(op, h, n).start(t)
	step := v.met(t, h)
	if h == withGuard {
		_, err := x.m.Thaw(context.Background(), false)
		check(t, err)
	}
	x.writing(t)
	if h == byStop {
		// A removal may be past the point where the first origin is out.
		if code := v.wake(t); code != 0 && code != 8 && (code != 10 || op.op != "remove") {
			t.Errorf("a tool that was stopped ends with %d", code)
		}
	}
	outcome = x.settled(t, op, before)
	if t.Failed() {
		t.Logf("%s at %s", h, step)
	}
	return outcome
}

// writing waits until every origin takes writes.
func (x *torture) writing(t *testing.T) {
	t.Helper()
	for _, w := range x.writers {
		w.WaitFor(t, 2)
	}
}

// settled recovers, and tells whether that led to before or after.
func (x *torture) settled(t *testing.T, op tortured, before string) string {
	t.Helper()
	_, err := x.m.Recover(context.Background())
	check(t, err)
	x.writing(t)
	// Nobody puts it back if both were killed.
	if err := os.WriteFile("/sys/kernel/rcu_expedited", []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	set, err := x.m.Show(context.Background(), "victim")
	exists := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if exists != (op.op == "create") {
		if after := x.tables(t); after != before {
			t.Errorf("neither before nor after: tables before:\n%safter:\n%s", before, after)
		}
		return "before"
	}
	if exists {
		x.verifyImages(t, set)
	}
	return "after"
}

// verifyImages reads an image: it holds the ring of one instant.
func (x *torture) verifyImages(t *testing.T, set *Set) {
	t.Helper()
	if set.State != StateActive {
		t.Errorf("the set is %s: %s", set.State, set.Volumes[0].Reason)
		return
	}
	dir := t.TempDir()
	for _, v := range set.Volumes {
		output(t, "mount", "-o", "ro", v.Device, dir)
		lab.Check(t, filepath.Join(dir, "ring"), ring)
		output(t, "umount", dir)
	}
}

// verifyOrigins: what the writers wrote is there, and the filesystems are whole.
func (x *torture) verifyOrigins(t *testing.T) {
	for i, v := range x.vols {
		x.writers[i].Stop(t)
		output(t, "sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
		lab.Check(t, filepath.Join(v.Dir, "ring"), ring)
		output(t, "fsfreeze", "-f", v.Dir) // clean on the medium
		out := output(t, "e2fsck", "-fn", v.Device)
		output(t, "fsfreeze", "-u", v.Dir)
		t.Logf("%s: %s", v.Name, strings.TrimSpace(string(out)))
	}
}
