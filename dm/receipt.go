package dm

import (
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
)

// receipt says what the window did and what of it was proven. A filesystem that
// was frozen by the suspend of its device counts as unproven: the kernel gives
// no answer that could be checked.
func (f *facts) receipt(p *plan.Plan, t run.Trace, r CreateRequest) Receipt {
	out := Receipt{
		Consistency: Unmounted, Asked: Filesystem, Start: t.Start.UTC(), End: t.End.UTC(),
		WindowUS: t.End.Sub(t.Start).Microseconds(), SkewUS: t.Skew.Microseconds(),
		Frozen: []string{}, Unproven: []string{}, Steps: []StepReceipt{}, Stores: []StoreReceipt{},
	}
	if r.Consistency == Crash {
		out.Asked, out.Consistency = Crash, Crash
	}
	for key, fs := range f.systems {
		path := fs.Mountpoint()
		if slices.Contains(t.Proven, key) {
			out.Frozen = append(out.Frozen, path)
		} else {
			out.Unproven = append(out.Unproven, path)
		}
	}
	switch {
	case len(out.Unproven) > 0:
		out.Consistency = Crash
	case len(out.Frozen) > 0:
		out.Consistency = Filesystem
	}
	for _, s := range t.Steps {
		out.Steps = append(out.Steps, StepReceipt{Step: s.Name, US: s.Took.Microseconds()})
	}
	for _, v := range p.Volumes {
		if st := v.StoreFacts; st.Why != "" {
			out.Stores = append(out.Stores, StoreReceipt{Volume: v.Name, Kind: st.Kind, Path: st.Path, Why: st.Why})
		}
	}
	return out
}
