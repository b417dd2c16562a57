package plan_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// randomRequest has one to five volumes with and without a layer, stacked or
// not, with filesystems that may span several of them.
func randomRequest(r *rand.Rand) plan.CreateRequest {
	modes := []targets.Mode{targets.Transient, targets.Persistent, targets.PersistentOverflow}
	req := request()
	req.Mode, req.Writable, req.Crash = modes[2*r.IntN(2)], r.IntN(2) == 0, r.IntN(4) == 0
	req.Chunk = targets.Sectors(8) << r.IntN(8)
	keys := r.Perm(16)
	for i := range 1 + r.IntN(5) {
		v := volume(fmt.Sprint("v", i), uint32(i))
		v.Origin.Depth, v.Origin.ReadOnly = r.IntN(3), r.IntN(5) == 0
		v.Origin.Dev = targets.DevNo{Major: 253 + uint32(r.IntN(2)), Minor: uint32(10*r.IntN(20) + i)}
		for range r.IntN(3) {
			method := []plan.Method{plan.ByFIFREEZE, plan.ByFIFREEZE, plan.ByLockFS}[r.IntN(3)]
			with(keys[0], "ext4", method, fmt.Sprint("/m", keys[0]))(&v)
			v.Origin.Filesystems[len(v.Origin.Filesystems)-1].Waits = r.IntN(4) == 0
			keys = keys[1:]
		}
		if i > 0 && r.IntN(3) == 0 { // a filesystem of several devices
			v.Origin.Filesystems = append(v.Origin.Filesystems, req.Volumes[0].Origin.Filesystems...)
		}
		if r.IntN(3) == 0 {
			copied(&v)
		}
		if r.IntN(2) == 0 {
			layered(&v)
			for n := range r.IntN(3) {
				beside(fmt.Sprint("older", n), modes[r.IntN(3)], r.IntN(3) > 0, r.IntN(4) > 0)(&v)
			}
		}
		if r.IntN(3) == 0 {
			v.Found = "it would be taken for the origin"
		}
		req.Volumes = append(req.Volumes, v)
	}
	return req
}

const rounds = 3000

// TestCreatePlansKeepTheRules checks what must hold for every plan.
func TestCreatePlansKeepTheRules(t *testing.T) {
	for seed := range uint64(rounds) {
		req := randomRequest(rand.New(rand.NewPCG(seed, 1)))
		p, err := plan.Create(req)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		c := checker{t: t, seed: seed, p: p}
		c.phases()
		c.undos()
		for i, v := range p.Volumes {
			c.sameOrigin(v)
			c.imageInsideFront(v)
			c.handedOver(v)
			c.verified(v)
			c.chained(v)
			c.frozen(req.Volumes[i].Origin, req.Crash)
		}
		c.windowOrder()
		c.groups()
		c.freezesUndone()
		c.stacked(p.Volumes)
		c.together(p.Volumes)
		if t.Failed() {
			t.Fatalf("the plan:\n%s", text(p))
		}
	}
}

type checker struct {
	t    *testing.T
	seed uint64
	p    *plan.Plan
}

func (c checker) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("seed %d: "+format, append([]any{c.seed}, args...)...)
}

// at is the position of the only step of that kind, -1 if there is none.
func (c checker) at(phase plan.Phase, action plan.Action, device string) int {
	found := -1
	for i, s := range c.p.Steps {
		if s.Phase == phase && s.Action == action && s.Device == device && s.Filesystem == nil {
			if found >= 0 {
				c.errorf("%s %s twice in %s", action, device, phase)
			}
			found = i
		}
	}
	return found
}

// phases come in order, and the window has nothing in it that could block,
// allocate or fail for a reason of its own.
func (c checker) phases() {
	order := []plan.Phase{plan.Prepare, plan.Window, plan.Finish, plan.After}
	inWindow := []plan.Action{plan.Freeze, plan.Prove, plan.Suspend, plan.Resume, plan.RemoveDevice, plan.Thaw}
	last := 0
	for _, s := range c.p.Steps {
		now := slices.Index(order, s.Phase)
		if now < last {
			c.errorf("%s in phase %q after phase %q", s, s.Phase, order[last])
		}
		last = now
		if s.Phase == plan.Window && !slices.Contains(inWindow, s.Action) {
			c.errorf("%s inside the window", s)
		}
	}
}

// undos: every device made is removed again, every front gets back what it had.
func (c checker) undos() {
	for _, s := range c.p.Steps {
		switch {
		case s.Action == plan.CreateDevice:
			if s.Undo == nil || s.Undo.Action != plan.RemoveDevice || s.Undo.Device != s.Device {
				c.errorf("%s is undone by %v", s, s.Undo)
			}
			if c.lastLoad(s.Device).Device == "" {
				c.errorf("%s gets no table", s.Device)
			}
		case s.Action == plan.LoadTable && s.Role == plan.RoleFront:
			own := c.volume(s.Device).Origin
			if s.Undo == nil || s.Undo.Action != plan.Restore || !s.Undo.Table.Equal(own.Table) || s.Undo.ReadOnly != own.ReadOnly {
				c.errorf("%s is undone by %v", s, s.Undo)
			}
		case s.Action == plan.LoadTable && s.Phase == plan.Prepare && (s.Role == plan.RoleImage || s.Role == plan.RoleCore): // the kernel has written a header
			if s.Undo == nil || s.Undo.Action != plan.WipeHeader || s.Undo.Bytes == 0 {
				c.errorf("%s is undone by %v", s, s.Undo)
			}
		case s.Phase == plan.Window && s.Role == plan.RoleBase:
			if s.Undo == nil || s.Undo.Action != plan.Suspend || s.Undo.Device != s.Device || s.Action != plan.Resume {
				c.errorf("%s is undone by %v", s, s.Undo)
			}
		case s.Phase == plan.Window && s.Action == plan.Suspend:
			if s.Undo == nil || s.Undo.Action != plan.Resume || s.Undo.Device != s.Device {
				c.errorf("%s is undone by %v", s, s.Undo)
			}
		}
	}
}

// lastLoad is the step that gives a device the table it has in the end.
func (c checker) lastLoad(device string) (last plan.Step) {
	for _, s := range c.p.Steps {
		if s.Action == plan.LoadTable && s.Device == device {
			last = s
		}
	}
	return last
}

func (c checker) volume(front string) plan.Volume {
	i := slices.IndexFunc(c.p.Volumes, func(v plan.Volume) bool { return v.Front == front })
	if i < 0 {
		c.t.Fatalf("seed %d: no volume has the front %s", c.seed, front)
	}
	return c.p.Volumes[i]
}

func snapshotOf(v plan.Volume) string { return cmp.Or(v.Core, v.Image) }

// chained: an older image reads through the new one only if neither can be written
// to and both keep their exceptions on their stores; with its own store and size.
func (c checker) chained(v plan.Volume) {
	var older []plan.Older
	if v.Origin.Base != nil {
		older = v.Origin.Base.Older
	}
	for _, o := range older {
		was := o.Table[0].Target.(targets.Snapshot)
		at := c.at(plan.After, plan.Chain, o.Name)
		may := o.Valid && o.ReadOnly && was.Mode == targets.PersistentOverflow && !v.Writable && v.Mode == targets.PersistentOverflow
		if may != (at >= 0) {
			c.errorf("%s is chained: %v", o.Name, at >= 0)
		}
		if at < 0 {
			continue
		}
		s := c.p.Steps[at]
		now := s.Table[0].Target.(targets.Snapshot)
		if now.Origin.Path != "/dev/mapper/"+v.Core || now.Store != was.Store || now.Mode != was.Mode || now.Chunk != was.Chunk || s.Table.Size() != o.Table.Size() || !s.ReadOnly {
			c.errorf("%s had %s and gets %s", o.Name, o.Table, s.Table)
		}
	}
}

// sameOrigin is rule A: the kernel pairs a snapshot with a snapshot-origin by
// the device both name. A front with a layer keeps its table.
func (c checker) sameOrigin(v plan.Volume) {
	image := c.p.Steps[c.at(plan.Prepare, plan.LoadTable, snapshotOf(v))]
	snapshot, ok := image.Table[0].Target.(targets.Snapshot)
	if !ok || len(image.Table) != 1 || image.Table.Size() != v.Origin.Size {
		c.errorf("image table %s", image.Table)
	}
	if want := "/dev/mapper/" + v.Base; snapshot.Origin.Path != want {
		c.errorf("%s is an image of %s, its front stands on %s", v.Image, snapshot.Origin, want)
	}
	if want := "/dev/mapper/" + v.Store; snapshot.Store.Path != want {
		c.errorf("%s keeps its chunks on %s", v.Image, snapshot.Store)
	}
	load := c.at(plan.Prepare, plan.LoadTable, v.Front)
	if base := v.Origin.Base; base != nil {
		if load >= 0 || v.Base != base.Name || c.at(plan.Prepare, plan.CreateDevice, v.Base) >= 0 {
			c.errorf("%s has a layer, and gets another", v.Front)
		}
		return
	}
	if load < 0 {
		c.errorf("%s gets no layer", v.Front)
		return
	}
	origin, ok := c.p.Steps[load].Table[0].Target.(targets.Origin)
	if !ok || origin.Dev != snapshot.Origin || c.p.Steps[load].Table.Size() != v.Origin.Size {
		c.errorf("front table %s, image of %s", c.p.Steps[load].Table, snapshot.Origin)
	}
	base := c.lastLoad(v.Base)
	if !base.Table.Equal(v.Origin.Table) || base.ReadOnly != v.Origin.ReadOnly {
		c.errorf("base table %s, the origin had %s", base.Table, v.Origin.Table)
	}
}

// imageInsideFront is rule B, and what must have happened before: the store
// wiped before the kernel reads it, the image suspended before its table comes.
func (c checker) imageInsideFront(v plan.Volume) {
	steps := []int{
		c.at(plan.Prepare, plan.Resume, v.Store),
		c.at(plan.Prepare, plan.WipeHeader, v.Store),
		c.at(plan.Prepare, plan.CreateDevice, snapshotOf(v)),
		c.at(plan.Prepare, plan.Suspend, snapshotOf(v)),
		c.at(plan.Prepare, plan.LoadTable, snapshotOf(v)),
		c.at(plan.Window, plan.Suspend, v.Front),
		c.at(plan.Window, plan.Resume, snapshotOf(v)),
		c.at(plan.Window, plan.Resume, v.Front),
	}
	if steps[0] < 0 || !slices.IsSorted(steps) {
		c.errorf("steps of %s at %v", v.Image, steps)
	}
	if !v.NewBase {
		return
	}
	// The front's slot is filled last: another program would take what waits there.
	steps = []int{
		c.at(plan.Prepare, plan.CreateDevice, v.Base), c.at(plan.Prepare, plan.Resume, v.Base), c.at(plan.Prepare, plan.LoadTable, snapshotOf(v)), c.at(plan.Prepare, plan.LoadTable, v.Front),
	}
	if steps[0] < 0 || !slices.IsSorted(steps) {
		c.errorf("steps of %s at %v", v.Base, steps)
	}
}

// handedOver: a table that must run once is loaded into a base that has another,
// and runs there from when its front stands still, before the images. If the
// window is undone, the base stands still before the front runs.
func (c checker) handedOver(v plan.Volume) {
	resume := c.at(plan.Window, plan.Resume, v.Base)
	if !v.NewBase || !plan.HandedOver(v.Origin.Table) {
		if resume >= 0 {
			c.errorf("%s is resumed inside the window", v.Base)
		}
		return
	}
	steps := []int{
		c.at(plan.Prepare, plan.Resume, v.Base), c.at(plan.Window, plan.Suspend, v.Front), resume, c.at(plan.Window, plan.Resume, snapshotOf(v)),
	}
	if steps[0] < 0 || !slices.IsSorted(steps) {
		c.errorf("handover of %s at %v", v.Base, steps)
	}
	for i, s := range c.p.Steps {
		if s.Device == v.Base && s.Action == plan.LoadTable && plan.HandedOver(s.Table) == (i < steps[0]) {
			c.errorf("%s: %s before its place", v.Base, s.Table)
		}
		if s.Device == v.Front && s.Action == plan.LoadTable && s.Undo.Peer != v.Base {
			c.errorf("%s is given its table back while %s runs", v.Front, v.Base)
		}
	}
}

func (c checker) verified(v plan.Volume) {
	settle := c.at(plan.Finish, plan.Settle, "")
	for _, device := range []string{v.Front, snapshotOf(v)} {
		if at := c.at(plan.Finish, plan.Verify, device); settle < 0 || at < settle {
			c.errorf("%s is verified at %d, nodes settle at %d", device, at, settle)
		}
	}
}

// TestCreatePlansAreStable: one request, one plan.
func TestCreatePlansAreStable(t *testing.T) {
	for seed := range uint64(100) {
		req := randomRequest(rand.New(rand.NewPCG(seed, 2)))
		a, err := plan.Create(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := plan.Create(req)
		if err != nil || text(a) != text(b) {
			t.Fatalf("seed %d: two plans of one request (%v)\n%s\n%s", seed, err, text(a), text(b))
		}
	}
}
