package dm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl"
)

// torture is two origins under verifying writers, with a state directory.
type torture struct {
	vols    []lab.Volume
	writers []*lab.Writer
	m       *Manager
	state   string
	images  string // a directory to mount images on
	before  string // all tables, as prepare left them
	bad     bool   // the disks are: images may be anything
}

const ring = 64 // slots of a writer's file

func newTorture(t *testing.T) *torture {
	t.Helper()
	lab.Need(t)
	disks := lab.Disks(t, 2)
	x := &torture{state: filepath.Join(t.TempDir(), "state"), images: t.TempDir()}
	x.m = New(Options{StateDir: x.state, NoGuard: true})
	for i, name := range []string{"one", "two"} {
		v := lab.NewVolume(t, name, "ext4", disks[0], disks[1], 200*i, 96)
		lab.Store(t, name+"-first", disks[1], 200*i+96, 96)
		lab.Store(t, name+"-newer", disks[1], 500+32*i, 32)
		x.vols = append(x.vols, v)
		x.writers = append(x.writers, lab.StartWriter(t, ring, filepath.Join(v.Dir, "ring")))
	}
	before := output(t, "dmsetup", "table")
	t.Cleanup(func() {
		x.verifyOrigins(t)
		if after := output(t, "dmsetup", "table"); !bytes.Equal(before, after) {
			t.Errorf("tables before:\n%safter:\n%s", before, after)
		}
	})
	return x
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
					if round++; !lab.Full() && round%97 != 1 {
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
	all := append(underTorture(), withoutPlan()...)
	for i := range kills {
		op := all[i%len(all)]
		x.prepare(t, op)
		v := x.fate(op, byNothing, 0).start(t)
		after := time.Duration(rand.Int64N(int64(1500 * time.Millisecond)))
		time.Sleep(after)
		_ = v.Process.Kill() // it may have ended
		v.met(t, byNothing)
		outcome := x.settled(t, op)
		seen[op.name+": "+outcome]++
		t.Logf("%d: %s, killed after %v: %s", i+1, op.name, after, outcome)
		if t.Failed() {
			t.FailNow()
		}
	}
	x.clear(t)
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%s: %d", what, seen[what])
	}
}

func (x *torture) fate(op tortured, h how, step int) fate {
	r := tortureSet("victim", op.n)
	return fate{Op: op.op, Set: "victim", Origins: r.Origins, Stores: r.Stores, Size: r.StoreSize, State: x.state, Dir: x.images, How: h, Step: step}
}

// prepare makes the state an operation starts from: exactly the sets of setup.
func (x *torture) prepare(t *testing.T, op tortured) {
	t.Helper()
	x.does(t, func() error { return x.prepareSets(op) })
	x.before = x.tables(t)
}

func (x *torture) clear(t *testing.T) {
	t.Helper()
	x.prepare(t, tortured{})
}

// does what must come about in the end: bad disks are good at times.
func (x *torture) does(t *testing.T, what func() error) {
	t.Helper()
	err := what()
	for deadline := time.Now().Add(time.Minute); err != nil && x.bad && time.Now().Before(deadline); err = what() {
		time.Sleep(50 * time.Millisecond)
	}
	check(t, err)
}

// tables are all there are, and whether devices are suspended or have another table
// waiting. dmsetup would be slow: it is the witness of a whole test only.
func (x *torture) tables(t *testing.T) string {
	t.Helper()
	ctl, err := ioctl.Host().OpenControl()
	check(t, err)
	defer ctl.Close()
	all, err := ctl.List(ioctl.ID{})
	check(t, err)
	var b strings.Builder
	for _, e := range all {
		info, specs, err := ctl.Table(ioctl.ID{Dev: e.Dev}, 0)
		check(t, err)
		fmt.Fprintln(&b, e.Name, e.Dev, info.Suspended, info.Inactive, specs)
	}
	return b.String()
}

// once ends the tool at one step.
func (x *torture) once(t *testing.T, op tortured, h how, n int) (outcome string) {
	t.Helper()
	x.prepare(t, op)
	late := []int{8}
	if op.removes() { // it may be past the point where the first origin is out
		late = append(late, 10)
	}
	step := x.end(t, x.fate(op, h, n), late...)
	outcome = x.settled(t, op)
	if t.Failed() {
		t.Logf("%s at %s", h, step)
	}
	return outcome
}

// end lets a victim meet its fate, and waits until writes come through. One that
// was stopped goes on then, and may be too late, with one of these exit statuses.
func (x *torture) end(t *testing.T, f fate, late ...int) (step string) {
	t.Helper()
	v := f.start(t)
	step = v.met(t, f.How)
	if f.How == withGuard {
		_, err := x.m.Thaw(context.Background(), false)
		check(t, err)
	}
	x.writing(t)
	if f.How == byStop {
		if code := v.wake(t); code != 0 && !slices.Contains(late, code) {
			t.Errorf("a tool that was stopped ends with %d", code)
		}
	}
	return step
}

// writing waits until every origin takes writes.
func (x *torture) writing(t *testing.T) {
	t.Helper()
	for _, w := range x.writers {
		w.WaitFor(t, 2)
	}
}

// settled recovers, and tells whether that led to before or after.
func (x *torture) settled(t *testing.T, op tortured) string {
	t.Helper()
	x.does(t, func() error {
		_, err := x.m.Recover(context.Background())
		return err
	})
	x.writing(t)
	unexpedited(t)
	set, err := x.m.Show(context.Background(), "victim")
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	outcome := op.outcome(set)
	if outcome == "in part" && op.op != "mount" { // what is mounted shows, and umount ends it
		t.Error("neither before nor after: it was partly done")
	}
	if outcome == "before" || op.op == "mount" {
		if after := x.tables(t); after != x.before {
			t.Errorf("neither before nor after: tables before:\n%safter:\n%s", x.before, after)
		}
	}
	x.verifyOthers(t)
	if set == nil {
		return outcome
	}
	if mountedImages(set) > 0 {
		check(t, x.m.Unmount(context.Background(), "victim"))
	}
	if outcome != "before" && !x.bad {
		x.verifyImages(t, set)
	}
	return outcome
}

// unexpedited: the switch is off, whoever was killed.
func unexpedited(t *testing.T) {
	t.Helper()
	on, err := os.ReadFile("/sys/kernel/rcu_expedited")
	if err == nil && strings.TrimSpace(string(on)) != "0" || err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rcu_expedited is %q, %v", on, err)
	}
}

// verifyImages reads an image: it holds the ring of one instant.
func (x *torture) verifyImages(t *testing.T, set *Set) {
	t.Helper()
	if set.State != StateActive {
		t.Errorf("the set is %s: %s", set.State, set.Volumes[0].Reason)
		return
	}
	for _, v := range set.Volumes {
		check(t, unix.Mount(v.Device, x.images, "ext4", unix.MS_RDONLY, ""))
		lab.Check(t, filepath.Join(x.images, "ring"), ring)
		check(t, unix.Unmount(x.images, 0))
	}
}

// verifyOthers reads the images of sets that are chained to the victim.
func (x *torture) verifyOthers(t *testing.T) {
	t.Helper()
	sets, err := x.m.List(context.Background())
	check(t, err)
	for _, s := range sets {
		if s.Persistent && s.Name != "victim" && !plan.IsLayer(s.Name) {
			x.verifyImages(t, &s)
		}
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
