package plan

import (
	"cmp"
	"slices"
)

// window holds the writers: all freezes, all suspends, all image resumes, all
// front resumes, all thaws, so that all volumes share one instant. A thaw
// blocks while the device beneath is suspended, hence resume before thaw.
func window(r CreateRequest, vs []Volume) []Step {
	lockFS := map[string]bool{}
	var freeze, prove, thaw, suspend, bases, images, fronts []Step
	for _, f := range frozen(r, vs) {
		switch f.Method {
		case ByFIFREEZE:
			undo := &Step{Action: Thaw, Filesystem: f}
			freeze = append(freeze, Step{Phase: Window, Action: Freeze, Filesystem: f, Undo: undo})
			prove = append(prove, Step{Phase: Window, Action: Prove, Filesystem: f})
			thaw = append([]Step{{Phase: Window, Action: Thaw, Filesystem: f}}, thaw...)
		case ByLockFS:
			lockFS[f.Front] = true
		}
	}
	for _, v := range topDown(vs) {
		if v.NewBase {
			bases = append(bases, v.redirector.Engage(v.Origin, v.Base)...)
		}
		suspend = append(suspend, Step{
			Phase: Window, Action: Suspend, Role: RoleFront, Device: v.Front, LockFS: lockFS[v.Front],
			Undo: &Step{Action: Resume, Role: RoleFront, Device: v.Front},
		})
		images = append(images, v.snapshot(Step{Phase: Window, Action: Resume}))
		fronts = append(fronts, Step{Phase: Window, Action: Resume, Role: RoleFront, Device: v.Front})
	}
	slices.Reverse(fronts)
	standing := stacked(vs)
	return slices.Concat(
		together(freeze, func(_, s Step) bool { return s.Filesystem.Waits }), together(prove, never),
		together(suspend, standing), bases, together(images, never), together(fronts, standing),
		together(thaw, func(before, _ Step) bool { return before.Filesystem.Waits }))
}

// runPreFreeze calls the hooks as late as possible, since applications wait from then
// on, but before the filesystems are synced: applications write when they quiesce.
func runPreFreeze(hooks []string) []Step {
	var steps []Step
	for _, h := range hooks {
		steps = append(steps, Step{
			Phase: Prepare, Action: Hook, Program: h, Event: "pre-freeze",
			Undo: &Step{Action: Hook, Program: h, Event: "abort"},
		})
	}
	return steps
}

// runPostThaw calls the hooks in reverse. The set exists by then: a hook that fails is
// logged, and changes nothing.
func runPostThaw(hooks []string) []Step {
	var steps []Step
	for _, h := range slices.Backward(hooks) {
		steps = append(steps, Step{Phase: Finish, Action: Hook, Program: h, Event: "post-thaw", Optional: true})
	}
	return steps
}

// sync writes out what is dirty before the window, where it would take time.
func sync(r CreateRequest, vs []Volume) []Step {
	var steps []Step
	for _, f := range frozen(r, vs) {
		if f.Method == ByFIFREEZE {
			steps = append(steps, Step{Phase: Prepare, Action: SyncFS, Filesystem: f})
		}
	}
	return steps
}

// frozen are the filesystems that the set freezes.
func frozen(r CreateRequest, vs []Volume) []*Filesystem {
	if r.Crash {
		return nil
	}
	return filesystems(vs)
}

// filesystems are those of all volumes, each once, in the order they are to be
// frozen (Filesystem.Key).
func filesystems(vs []Volume) []*Filesystem {
	seen := map[int]bool{}
	var out []*Filesystem
	for _, v := range vs {
		for i := range v.Origin.Filesystems {
			f := &v.Origin.Filesystems[i]
			if !seen[f.Key] {
				seen[f.Key] = true
				out = append(out, f)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *Filesystem) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// placed is a volume of a set, to make or to remove, above or beneath others.
type placed interface{ origin() Origin }

func (v Volume) origin() Origin { return v.Origin }

func (v RemoveVolume) origin() Origin { return v.Origin }

// topDown is the order in which fronts are suspended: what stands on another
// device of the set stops before it, equals by device number. Resuming goes the
// other way.
func topDown[V placed](vs []V) []V {
	out := slices.Clone(vs)
	slices.SortStableFunc(out, func(a, b V) int {
		x, y := a.origin(), b.origin()
		return cmp.Or(cmp.Compare(y.Depth, x.Depth), cmp.Compare(x.Dev.Major, y.Dev.Major), cmp.Compare(x.Dev.Minor, y.Dev.Minor))
	})
	return out
}

// together lets steps of one kind run at the same time, so that many volumes are
// held little longer than one; those that wait for the one before do not.
func together(steps []Step, wait func(before, s Step) bool) []Step {
	for i := range steps {
		steps[i].Together = i > 0 && !wait(steps[i-1], steps[i])
	}
	return steps
}

func never(Step, Step) bool { return false }

// stacked tells of two fronts whether one may stand on the other.
func stacked[V placed](vs []V) func(a, b Step) bool {
	depth := map[string]int{}
	for _, v := range vs {
		depth[v.origin().front()] = v.origin().Depth
	}
	return func(a, b Step) bool { return depth[a.Device] != depth[b.Device] }
}
