package dm

import (
	"cmp"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/targets"
)

// receipt says what the window did and what of it was proven. A filesystem that
// was frozen by the suspend of its device counts as unproven: the kernel gives
// no answer that could be checked.
func (f *facts) receipt(t run.Trace, p *plan.Plan, r CreateRequest, hooks []HookReceipt) Receipt {
	out := Receipt{
		Asked: r.requestedLevel(len(f.request.Hooks)), Start: t.Start.UTC(), End: t.End.UTC(),
		Window: t.End.Sub(t.Start), Skew: t.Skew,
		Guard: GuardKind(cmp.Or(t.Guard, string(GuardNone))), Frozen: []string{}, Unproven: []string{}, Allowed: []string{}, Outside: f.outside(), Hooks: slices.Clip(hooks), Steps: []StepReceipt{}, Stores: []StoreReceipt{},
	}
	for key, fs := range f.systems {
		path := fs.Mountpoint()
		if slices.Contains(t.Proven, key) {
			out.Frozen = append(out.Frozen, path)
			continue
		}
		out.Unproven = append(out.Unproven, path)
		if f.allows(fs) {
			out.Allowed = append(out.Allowed, path)
		}
	}
	for _, d := range f.doubts {
		out.Unproven, out.Doubts = append(out.Unproven, d.Device), append(out.Doubts, d.Doubt)
		if slices.Contains(f.allowed, d.dev) {
			out.Allowed = append(out.Allowed, d.Device)
		}
	}
	out.Consistency = out.reached(len(out.Frozen) > 0, len(out.Unproven) > 0)
	for _, s := range t.Steps {
		out.Steps = append(out.Steps, StepReceipt{Step: s.Step.String(), At: s.At, Took: s.Took})
	}
	for _, v := range p.Volumes {
		held := volumeReceipt(v, t.Steps)
		held.Consistency = out.reached(f.frozenOn(v.Origin.Dev, t.Proven))
		out.Volumes = append(out.Volumes, held)
		out.Blocked = max(out.Blocked, held.Blocked)
	}
	for _, v := range p.Volumes {
		if st := v.StoreFacts; st.Why != "" {
			out.Stores = append(out.Stores, StoreReceipt{Volume: v.Name, Kind: StoreKind(st.Kind), Path: st.Path, Why: st.Why})
		}
	}
	for _, v := range p.Volumes {
		if v.File != nil && len(v.File.FillFor) > 0 {
			out.Copied = append(out.Copied, CopiedReceipt{Volume: v.Name, Path: v.File.Path, Images: v.File.FillFor, Bytes: v.File.Size()})
		}
		for _, m := range v.StoreFacts.Disks {
			out.Media = append(out.Media, medium(v.Name, m))
		}
	}
	return out
}

func medium(volume string, m plan.Disk) Medium {
	return Medium{Volume: volume, Disk: m.Name, IOTimeout: m.Timeout}
}

// reached is the consistency that was secured where something was proven frozen, and
// where something was not.
func (r *Receipt) reached(frozen, unproven bool) Consistency {
	failed := slices.ContainsFunc(r.Hooks, func(h HookReceipt) bool { return h.Error != "" })
	switch {
	case r.Asked == Crash, unproven:
		return Crash
	case len(r.Hooks) > 0 && !failed:
		return Application
	case frozen:
		return Filesystem
	}
	return Unmounted
}

// frozenOn tells whether something on an origin was proven frozen, and something not.
func (f *facts) frozenOn(origin targets.DevNo, proven []int) (frozen, unproven bool) {
	for key, fs := range f.systems {
		if slices.ContainsFunc(f.above[origin], fs.Uses) {
			held := slices.Contains(proven, key)
			frozen, unproven = frozen || held, unproven || !held
		}
	}
	return frozen, unproven || slices.ContainsFunc(f.doubts, func(d doubt) bool { return slices.Contains(f.above[origin], d.dev) })
}

// BelowAsked tells whether the set is less consistent than was asked for.
func (r *Receipt) BelowAsked() bool {
	return r.Consistency == Crash && r.Asked != Crash && (len(r.Unproven) == 0 || len(r.NotAllowed()) > 0)
}

// NotAllowed are those of Unproven that the request does not allow.
func (r *Receipt) NotAllowed() []string {
	return slices.DeleteFunc(slices.Clone(r.Unproven), func(u string) bool { return slices.Contains(r.Allowed, u) })
}

// volumeReceipt finds the calls that were about one volume.
func volumeReceipt(v plan.Volume, steps []run.TracedStep) VolumeReceipt {
	out := VolumeReceipt{Name: v.Name}
	first, last := time.Duration(-1), time.Duration(0)
	for _, s := range steps {
		end := s.At + s.Took
		fs := s.Step.Filesystem
		own := fs != nil && slices.ContainsFunc(v.Origin.Filesystems, func(f plan.Filesystem) bool { return f.Key == fs.Key })
		switch {
		case own && s.Step.Action == plan.Freeze:
			if out.Frozen == nil || end < *out.Frozen {
				out.Frozen = &end
			}
		case own && s.Step.Action == plan.Thaw:
			if out.Thawed == nil || *out.Thawed < end {
				out.Thawed = &end
			}
		case s.Step.Device == v.Front && s.Step.Action == plan.Suspend:
			out.Suspended = end
		case s.Step.Device == v.Front && s.Step.Action == plan.Resume:
			out.Resumed = end
		default:
			continue
		}
		if first < 0 {
			first = s.At
		}
		last = max(last, end) // calls of one kind run together
	}
	out.Blocked = last - first
	return out
}
