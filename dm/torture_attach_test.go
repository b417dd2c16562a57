package dm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/lab"
)

// plainTorture is a partition with a store on another disk, mounted under a
// verifying writer.
type plainTorture struct {
	torture
	device, cow string
	layer       string // to attach with; "": none
}

func newPlainTorture(t *testing.T) *plainTorture {
	t.Helper()
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	x := &plainTorture{device: lab.Partition(t, disks[0], 1, 1, 64), cow: lab.Store(t, "cow", disks[1], 0, 96)}
	lab.Format(t, "ext4", x.device)
	v := lab.Volume{Device: x.device, Name: filepath.Base(x.device), Dir: lab.Mount(t, x.device)}
	x.vols, x.writers = []lab.Volume{v}, []*lab.Writer{lab.StartWriter(t, ring, filepath.Join(v.Dir, "ring"))}
	x.state, x.images = filepath.Join(t.TempDir(), "state"), t.TempDir()
	x.m = New(Options{StateDir: x.state, NoGuard: true})
	t.Cleanup(func() { x.verifyOrigins(t) })
	return x
}

// plainState is how a partition is between operations.
type plainState string

const (
	plainAlone    plainState = "plain"
	plainAttached plainState = "attached"
	plainWithSet  plainState = "with a set"
)

// attaching is an operation that leads a partition from one state into another.
type attaching struct {
	name, op string
	from, to plainState
}

// underPlainTorture are the operations on a partition that docs/torture.md has a
// table of.
func underPlainTorture() []attaching {
	return []attaching{
		{"attach a partition", "attach", plainAlone, plainAttached},
		{"detach a partition", "detach", plainAttached, plainAlone},
		{"create on a partition", "create", plainAlone, plainWithSet},
		{"remove the last set of a partition", "remove", plainWithSet, plainAlone},
	}
}

// TestTortureAttach ends the tool at every step of what brings a mounted
// partition under device-mapper and takes it out again, in every way, while a
// writer runs. Nobody is held for ever, and recover ends in the state before or
// after. What it logs becomes docs/torture.md.
func TestTortureAttach(t *testing.T) {
	x := newPlainTorture(t)
	x.endEverywhere(t, underPlainTorture())
}

// TestTortureLayer is the same with a layer of dm-era.
func TestTortureLayer(t *testing.T) {
	lab.Need(t)
	lab.Long(t)
	x := newPlainTorture(t)
	meta := lab.Store(t, "meta", lab.Disks(t, 3)[2], 0, 4)
	x.layer = "0 " + strings.TrimSpace(lab.Run(t, "blockdev", "--getsz", x.device)) + " era " + meta + " " + x.device + " 128"
	x.endEverywhere(t, []attaching{
		{"attach with a layer", "attach", plainAlone, plainAttached},
		{"detach from a layer", "detach", plainAttached, plainAlone},
	})
}

// endEverywhere ends operations at every step, in every way.
func (x *plainTorture) endEverywhere(t *testing.T, ops []attaching) {
	t.Helper()
	for _, op := range ops {
		t.Run(op.op, func(t *testing.T) {
			steps := x.steps(t, op)
			for n, step := range steps {
				for _, h := range []how{byKill, byKillInside, byStop, withGuard} {
					outcome := x.endAt(t, op, h, n+1)
					t.Logf("torture | %s | %d | %s | %s | %s", op.name, n+1, x.plain(step), h, outcome)
					if t.Failed() {
						t.FailNow()
					}
				}
			}
			x.become(t, plainAlone)
		})
	}
}

// steps are those of an operation that nothing ends.
func (x *plainTorture) steps(t *testing.T, op attaching) (steps []string) {
	t.Helper()
	x.become(t, op.from)
	x.m.fail = func(s plan.Step) error {
		redactedPlan := redactedPlan(&plan.Plan{Steps: []plan.Step{s}}).Steps[0]
		steps = append(steps, strings.TrimSpace(string(redactedPlan.Phase)+": "+redactedPlan.Action+" "+redactedPlan.Device))
		return nil
	}
	defer func() { x.m.fail = nil }()
	f := x.fate(op, byNothing, 0)
	check(t, f.do(x.m))
	return steps
}

func (x *plainTorture) fate(op attaching, h how, step int) fate {
	return fate{
		Op: op.op, Set: "victim", Origins: []string{x.device}, Stores: map[string]string{x.device: x.cow},
		State: x.state, How: h, Step: step, Layer: x.layer,
	}
}

// become brings the partition into a state.
func (x *plainTorture) become(t *testing.T, want plainState) {
	t.Helper()
	ctx, have := context.Background(), x.has(t)
	if have == want {
		return
	}
	switch have {
	case plainWithSet:
		check(t, x.m.Remove(ctx, RemoveRequest{Name: "victim"}))
	case plainAttached:
		check(t, x.m.Detach(ctx, x.device))
	}
	op := map[plainState]string{plainWithSet: "create", plainAttached: "attach"}[want]
	if op == "" {
		return
	}
	f := x.fate(attaching{op: op}, byNothing, 0)
	check(t, f.do(x.m))
}

// has tells which state it is by what there is.
func (x *plainTorture) has(t *testing.T) plainState {
	t.Helper()
	ctx := context.Background()
	switch _, err := x.m.Show(ctx, "victim"); {
	case err == nil:
		return plainWithSet
	case !errors.Is(err, ErrNotFound):
		t.Fatal(err)
	}
	g, err := x.m.Graph(ctx)
	check(t, err)
	if slices.ContainsFunc(g.Nodes, func(n GraphNode) bool { return n.Role == "base" }) {
		return plainAttached
	}
	return plainAlone
}

// is tells the state, and looks whether that is all there is of it.
func (x *plainTorture) is(t *testing.T) plainState {
	t.Helper()
	state, tables := x.has(t), x.tables(t)
	base := "dmsnap-base-" + x.vols[0].Name
	_, err := os.Stat(filepath.Join(x.state, "attached", base+".json"))
	if recorded := err == nil; recorded != (state == plainAttached) {
		t.Errorf("the partition is %s, recorded as attached: %v", state, recorded)
	}
	if state == plainAlone {
		if strings.Contains(tables, "dmsnap-") {
			t.Errorf("something is left:\n%s", tables)
		}
		return state
	}
	// The front's number, and how many writes went past it.
	redirected := base
	if x.layer != "" {
		redirected = "dmsnap-lower-" + x.vols[0].Name
	}
	status := strings.Fields(string(output(t, "dmsetup", "status", redirected)))
	if len(status) != 5 || status[3] == "-" || status[4] != "0" {
		t.Errorf("the partition is %s, its base says %v", state, status)
	}
	if state == plainWithSet {
		set, err := x.m.Show(context.Background(), "victim")
		check(t, err)
		x.verifyImages(t, set)
	}
	return state
}

// endAt ends an operation at one step, and tells what recover makes of it.
func (x *plainTorture) endAt(t *testing.T, op attaching, h how, n int) (outcome string) {
	t.Helper()
	x.become(t, op.from)
	var late []int
	if op.op == "create" {
		late = []int{8}
	}
	step := x.end(t, x.fate(op, h, n), late...)
	_, err := x.m.Recover(context.Background())
	check(t, err)
	x.writing(t)
	unexpedited(t)
	switch state := x.is(t); state {
	case op.from:
		outcome = "before"
	case op.to:
		outcome = "after"
	default:
		t.Errorf("neither before nor after: the partition is %s", state)
	}
	if t.Failed() {
		t.Logf("%s at %q of %s", h, step, op.name)
	}
	return outcome
}
