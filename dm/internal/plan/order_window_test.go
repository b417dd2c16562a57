package plan_test

import (
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// windowOrder is one instant for all: all freezes, all proofs, all suspends, all
// bases that are handed over, all images, all fronts, all thaws.
func (c checker) windowOrder() {
	last := 0
	for _, s := range c.p.In(plan.Window) {
		group := slices.Index([]plan.Action{plan.Freeze, plan.Prove, plan.Suspend, "", plan.Resume, "", plan.Thaw}, s.Action)
		switch {
		case s.Role == plan.RoleBase:
			group--
		case s.Role == plan.RoleFront && s.Action == plan.Resume:
			group++
		}
		if group < last {
			c.errorf("%s comes too late in the window", s)
		}
		last = group
	}
}

// frozen: a filesystem is frozen through its mount point or by the suspend, never
// by both; neither in a crash-consistent set.
func (c checker) frozen(o plan.Origin, crash bool) {
	front := c.p.Steps[c.at(plan.Window, plan.Suspend, o.Name)]
	locks := false
	for _, f := range o.Filesystems {
		of := func(a plan.Action) (n int) {
			for _, s := range c.p.Steps {
				if s.Action == a && s.Filesystem != nil && s.Filesystem.Key == f.Key {
					n++
				}
			}
			return n
		}
		got := [4]int{of(plan.SyncFS), of(plan.Freeze), of(plan.Prove), of(plan.Thaw)}
		want := [4]int{1, 1, 1, 1}
		switch {
		case crash:
			want = [4]int{}
		case f.Method == plan.ByLockFS:
			want = [4]int{}
			locks = locks || f.Front == o.Name
		}
		if got != want {
			c.errorf("%v by %s: sync, freeze, prove and thaw %v times, not %v", f.Mountpoints, f.Method, got, want)
		}
	}
	if front.LockFS != locks {
		c.errorf("suspend of %s: LockFS %v", o.Name, front.LockFS)
	}
}

// freezesUndone: thaws are the freezes in reverse, and in the order of the keys.
func (c checker) freezesUndone() {
	var frozen, thawed []int
	for _, s := range c.p.In(plan.Window) {
		switch s.Action {
		case plan.Freeze:
			frozen = append(frozen, s.Filesystem.Key)
			if s.Undo == nil || s.Undo.Action != plan.Thaw || s.Undo.Filesystem != s.Filesystem {
				c.errorf("%s is undone by %v", s, s.Undo)
			}
		case plan.Thaw:
			thawed = append(thawed, s.Filesystem.Key)
		}
	}
	slices.Reverse(thawed)
	if !slices.IsSorted(frozen) || !slices.Equal(frozen, thawed) {
		c.errorf("frozen %v, thawed backwards %v", frozen, thawed)
	}
}

// stacked: what stands on others is suspended first and resumed last.
func (c checker) stacked(vs []plan.Volume) {
	for _, a := range vs {
		for _, b := range vs {
			if a.Origin.Depth > b.Origin.Depth && (c.at(plan.Window, plan.Suspend, a.Front) > c.at(plan.Window, plan.Suspend, b.Front) ||
				c.at(plan.Window, plan.Resume, a.Front) < c.at(plan.Window, plan.Resume, b.Front)) {
				c.errorf("%s (depth %d) and %s (depth %d) in the wrong order", a.Front, a.Origin.Depth, b.Front, b.Origin.Depth)
			}
		}
	}
}

// together: only steps of one kind run at the same time, no front with one it may
// stand on, no filesystem with those whose files it holds.
func (c checker) together(vs []plan.Volume) {
	depth := map[string]int{}
	for _, v := range vs {
		depth[v.Front] = v.Origin.Depth
	}
	round := []plan.Step{}
	for _, s := range c.p.Steps {
		if !s.Together {
			round = round[:0]
		}
		for _, other := range round {
			f, of := s.Filesystem, other.Filesystem
			switch {
			case s.Phase != plan.Window || s.Action != other.Action || s.Role != other.Role:
				c.errorf("%s together with %s", s, other)
			case s.Role == plan.RoleFront && depth[s.Device] != depth[other.Device]:
				c.errorf("%s at depth %d together with %s at depth %d", s, depth[s.Device], other, depth[other.Device])
			case s.Action == plan.Freeze && f.Waits, s.Action == plan.Thaw && of.Waits:
				c.errorf("%s together with %s", s, other)
			}
		}
		round = append(round, s)
	}
}
