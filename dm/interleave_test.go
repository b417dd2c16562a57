package dm

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestInterleaved has one operation run whole in the middle of another: every pair
// of them, sharing an origin, a store, a name or nothing, or with their stores on
// each other's origins, at every call of the
// first one at full length, else at one call, and for one of the things shared, which a
// seed decides on, at the first, the last, and one of some kinds. Whatever they return, afterwards each set there is
// has the image of its cut and is protected, no set is there or gone that nobody
// told of, nobody is held, nothing is left over, and no byte changed of what is not
// ours. DMSNAP_SEED repeats the calls of a run.
func TestInterleaved(t *testing.T) {
	hostOnly(t)
	seed := uint64(1)
	if lab.Full() {
		seed = uint64(time.Now().UnixNano())
	}
	if text := os.Getenv("DMSNAP_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		check(t, err)
	}
	acts := meeting()
	for _, a := range slices.Sorted(maps.Keys(acts)) {
		t.Run(a, func(t *testing.T) {
			t.Parallel()
			for n, b := range slices.Sorted(maps.Keys(acts)) {
				for i, shared := range sharings {
					turn := (uint64(n+len(a)) + seed) % uint64(3*len(sharings))
					p := &pair{a: acts[a], b: acts[b], what: a + ", and meanwhile " + b + ", sharing " + shared, shared: shared, seed: seed}
					p.sampled = uint64(i) != turn%uint64(len(sharings))
					if p.fits() && (!testing.Short() || uint64(i) == turn) { // a part is enough then
						p.meet(t, rand.New(rand.NewPCG(seed, uint64(len(p.what)*1000+i))))
					}
				}
			}
		})
	}
}

// sharings are what two operations have in common.
var sharings = []string{"nothing", "an origin", "a store", "a name", "each other's origins"}

// pair is two operations that meet.
type pair struct {
	a, b         act
	what, shared string
	seed         uint64
	sampled      bool // one call is enough in a normal run: what they share has its turn with another seed
}

// fits leaves out pairs that would be two of the same thing.
func (p *pair) fits() bool {
	switch {
	case p.shared == "each other's origins":
		return p.a.files && p.b.files
	case p.a.plain && p.b.plain:
		return p.shared == "an origin"
	}
	return true
}

// parts are what the two work with.
func (p *pair) parts() (a, b part) {
	a = part{name: "a", origin: "/home", dir: "/mnt/a", stores: []string{"/dev/a0", "/dev/a1", "/dev/a2"}}
	b = part{name: "b", origin: "/var", dir: "/mnt/b", stores: []string{"/dev/b0", "/dev/b1", "/dev/b2"}}
	switch p.shared {
	case "an origin":
		if p.a.plain || p.b.plain {
			a.origin = "/data"
		}
		b.origin = a.origin
	case "a store":
		b.stores = a.stores
	case "a name":
		b.name = a.name
	case "each other's origins": // for their stores
		a.files, b.files = b.origin, a.origin
	}
	return a, b
}

// meet runs the pair at the calls that are chosen.
func (p *pair) meet(t *testing.T, r *rand.Rand) {
	t.Helper()
	log, ok := p.alone(t)
	if !ok {
		return
	}
	for _, n := range p.chosen(r, log) {
		w, met := p.run(t, n)
		if len(w.told) > 0 {
			t.Errorf("%s, at call %d of %d, %s; DMSNAP_SEED=%d:\n%s", p.what, n, len(log), met, p.seed, strings.Join(w.told, "\n"))
			return
		}
	}
}

// alone is what the first operation calls when nobody comes in between, none if
// the two cannot be set up.
func (p *pair) alone(t *testing.T) (log []ioctltest.Call, ok bool) {
	t.Helper()
	w := newWorld(t)
	if !p.setup(w) {
		return nil, false
	}
	first := w.Calls()
	a, _ := p.parts()
	_, _ = p.a.do(w.manager(), a)
	return w.Log()[first:], true
}

// setup makes what both need. Who dies does so last: what comes after would end it.
func (p *pair) setup(w *world) bool {
	a, b := p.parts()
	for _, late := range []bool{false, true} {
		for _, x := range []struct {
			act
			part
		}{{p.a, a}, {p.b, b}} {
			if x.setup != nil && x.dies == late && x.setup(w, x.part) != nil {
				return false
			}
		}
	}
	if p.a.lapse || p.b.lapse {
		w.lapse()
		for uuid, c := range w.cuts {
			c.lapsed = p.a.lapse && c.name == a.name || p.b.lapse && c.name == b.name
			w.cuts[uuid] = c
		}
	}
	w.writeAll()
	return true
}

// chosen are the calls before which the other operation runs.
func (p *pair) chosen(r *rand.Rand, log []ioctltest.Call) (at []int) {
	last := len(log)
	switch {
	case last == 0:
		return nil
	case testing.Short():
		return []int{1 + r.IntN(last)}
	case lab.Full():
		for n := range last {
			at = append(at, n+1)
		}
		return at
	case p.sampled, p.shared == "nothing":
		return []int{1 + r.IntN(last)}
	}
	kinds := map[string][]int{}
	for i, c := range log {
		kind := c.Op + " " + c.Request
		if looks(c) {
			kind = "look" // by far the most, and alike
		}
		kinds[kind] = append(kinds[kind], i+1)
	}
	at = []int{1, last}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if r.IntN(12) == 0 { // few of them: all pairs take minutes as it is
			at = append(at, kinds[kind][r.IntN(len(kinds[kind]))])
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(at)))
}

// run has the two meet at one call.
func (p *pair) run(t *testing.T, n int) (w *world, met string) {
	t.Helper()
	w = newWorld(t)
	fresh := withoutData(withoutLocks(w.Snapshot()))
	if !p.setup(w) {
		w.complain("it could be set up before")
		return w, ""
	}
	a, b := p.parts()
	before, first := w.versions(), w.Calls()
	var made, set *Set
	var errA, errB error
	w.Fail(func(c ioctltest.Call) error {
		if c.N-first != n {
			return nil
		}
		w.Fail(nil)
		w.writeAll()
		then := w.versions()
		set, errB = p.b.do(w.manager(), b)
		met = fmt.Sprintf("%s (%s: %v)", c, "that one", errB)
		w.took(set, b.origin, then)
		w.writeAll()
		return nil
	})
	made, errA = p.a.do(w.manager(), a)
	w.Fail(nil)
	w.took(made, a.origin, before)
	met += fmt.Sprintf(" (this one: %v)", errA)
	if met == "" && errB == nil {
		return w, ""
	}
	if p.shared == "each other's origins" && errA == nil && errB == nil && set != nil {
		w.complain("each copies to where the other copies from: both wait for ever")
	}
	for _, err := range []error{errA, errB} {
		w.judge(err)
	}
	if p.a.dies || p.b.dies { // a thaw lets go and leaves the rest to recover
		w.recover()
	}
	w.right(t, func(uuid string, c cut) bool {
		ended := func(x act, part part, err error) bool {
			return x.ends && c.name == part.name && (err == nil || errors.Is(err, ErrPartial))
		}
		kept := p.a.keeps && made != nil && made.UUID == uuid || p.b.keeps && set != nil && set.UUID == uuid
		return ended(p.a, a, errA) || ended(p.b, b, errB) || c.lapsed && !kept
	})
	w.clear()
	w.leaks(fresh)
	return w, met
}

// judge takes the errors that tell users what to do at their word.
func (w *world) judge(err error) {
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		w.complain("%v is no *Error", err)
	}
	if errors.Is(err, ErrUnrecovered) || errors.Is(err, ErrPartial) {
		w.recover()
	}
}
