package dm

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// tortureStore is how large a store is before it is extended, and what is added.
const tortureStore = 16 * mib

// tortureSet asks for a set of the first n origins. The set "first" has stores of its
// own, and so have "older" and "newer", which are persistent: whatever else is cut of
// those origins is chained to them.
func tortureSet(set string, n int) CreateRequest {
	r := CreateRequest{Name: set, Stores: map[string]string{}, StoreSize: Size{Bytes: tortureStore}}
	for _, name := range []string{"one", "two"}[:n] {
		origin, store := "/dev/mapper/"+name, "-cow"
		switch set {
		case "first", "older": // stay for long
			store, r.StoreSize = "-first", Size{}
		case "newer":
			store = "-newer"
		}
		r.Origins = append(r.Origins, origin)
		r.Stores[origin] = origin + store
	}
	r.Persistent = set == "older" || set == "newer"
	return r
}

// tortured is an operation on the set "victim", from a state made by setup.
type tortured struct {
	name  string
	op    string
	n     int      // origins
	setup []string // sets there are before
}

// underTorture are the operations that docs/torture.md has a table of.
func underTorture() []tortured {
	return []tortured{
		{"create one volume", "create", 1, nil},
		{"create two volumes", "create", 2, nil},
		{"create beside a set", "create", 1, []string{"first"}},
		{"extend", "extend", 1, []string{"victim"}},
		{"extend two stores", "extend", 2, []string{"victim"}},
		{"remove the last set", "remove", 2, []string{"victim"}},
		{"remove beside a set", "remove", 1, []string{"first", "victim"}},
		{"create, and chain an older set", "create", 1, []string{"older"}},
		{"remove what an older set reads through", "remove", 1, []string{"older", "victim"}},
		{"flatten a set in the middle", "flatten", 1, []string{"older", "victim", "newer"}},
	}
}

// withoutPlan are operations that a table of steps has nothing on.
func withoutPlan() []tortured {
	return []tortured{{"mount", "mount", 2, []string{"victim"}}}
}

// steps are those of the plan of an operation.
func (op tortured) steps(t *testing.T, m *Manager) (steps []string) {
	t.Helper()
	var p *Plan
	var err error
	switch op.op {
	case "create":
		p, err = m.PlanCreate(context.Background(), tortureSet("victim", op.n))
	case "extend":
		p, err = m.PlanExtend(context.Background(), larger("victim"))
	case "flatten":
		p, err = m.PlanRemove(context.Background(), RemoveRequest{Name: "victim", Flatten: true})
	default:
		p, err = m.PlanRemove(context.Background(), RemoveRequest{Name: "victim"})
	}
	check(t, err)
	for _, s := range p.Steps {
		steps = append(steps, strings.TrimSpace(string(s.Phase)+": "+s.Action+" "+s.Device))
	}
	return steps
}

// outcome is what became of an operation, by the set there is, nil if there is
// none.
func (op tortured) outcome(set *Set) string {
	done := 0 // volumes
	switch {
	case op.op == "create" && set != nil, op.removes() && set == nil:
		done = op.n
	case op.op == "extend" && set != nil:
		done = grown(set)
	case op.op == "mount" && set != nil:
		done = mountedImages(set)
	}
	switch done {
	case 0:
		return "before"
	case op.n:
		return "after"
	}
	return "in part"
}

func (x *torture) prepareSets(op tortured) error {
	sets, err := x.m.List(context.Background())
	if err != nil {
		return err
	}
	var have []string
	for _, s := range sets {
		if slices.Contains(op.setup, s.Name) && len(s.Volumes) == op.n && (s.Name == "first" || grown(&s) == 0) {
			have = append(have, s.Name)
		}
	}
	if len(have) < len(sets) && slices.ContainsFunc(sets, func(s Set) bool { return s.Persistent }) {
		have = nil // what others read through stays for as long as they do
	}
	for _, s := range sets {
		if slices.Contains(have, s.Name) || plan.IsLayer(s.Name) {
			continue
		}
		if err := x.m.Remove(context.Background(), RemoveRequest{Name: s.Name}); err != nil {
			return err
		}
	}
	for _, name := range op.setup {
		if slices.Contains(have, name) {
			continue
		}
		r := tortureSet(name, op.n)
		if x.bad { // a store that could not be wiped may carry anything; a window takes as long as the disk does
			r.ForceStore, r.FreezeTimeout = true, time.Minute
		}
		if _, err := x.m.Create(context.Background(), r); err != nil {
			return err
		}
	}
	return nil
}

// removes: the victim is gone afterwards.
func (op tortured) removes() bool { return op.op == "remove" || op.op == "flatten" }

// larger asks for larger stores.
func larger(set string) ExtendRequest {
	return ExtendRequest{Name: set, Size: Size{Bytes: tortureStore}, Relative: true}
}

// grown is how many stores of a set have been extended.
func grown(s *Set) (n int) {
	for _, v := range s.Volumes {
		if v.Store.SizeBytes > tortureStore {
			n++
		}
	}
	return n
}

// mountedImages is how many images of a set are.
func mountedImages(s *Set) (n int) {
	for _, v := range s.Volumes {
		n += len(v.ImageMounts)
	}
	return n
}
