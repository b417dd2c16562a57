package scenarios

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestTwoProcesses has two commands meet at random moments, on origins, stores and names that they may share, some with a
// state directory of their own, under writers. Whatever they answer: each set there is has the image of its cut, bit for
// bit and for as long as it lives; none is there or gone of which no command said so; nobody is held. DMSNAP_SEED repeats
// what is drawn, though not the moments.
func TestTwoProcesses(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	r := newRace(t)
	for round := range lab.Rounds(t, 6, 500) {
		if round%50 == 0 {
			t.Logf("round %d: %v", round, r.codes)
		}
		r.round(round)
		if t.Failed() {
			t.Fatalf("in round %d; DMSNAP_SEED=%d", round, r.seed)
		}
	}
	for name := range r.sets {
		r.tool.OK("remove", name)
	}
	for _, w := range r.writers {
		w.Stop(t)
	}
	t.Logf("exit statuses: %v", r.codes)
}

// race is what the commands of TestTwoProcesses work with.
type race struct {
	t       *testing.T
	seed    uint64
	rand    *rand.Rand
	tool    *lab.Tool
	other   *lab.Tool // with another state directory
	origins []string
	writers map[string]*lab.Writer
	stores  []string
	sets    map[string]raced // by name
	codes   map[string]int   // how often a command ended how
}

// raced is a set and how many records its image holds.
type raced struct {
	uuid, device, origin string
	records              uint64
}

// command is one of the two.
type command struct {
	verb, name, origin string
	tool               *lab.Tool
	args               []string
	out, err           string
	code               int
}

func newRace(t *testing.T) *race {
	t.Helper()
	disks := lab.Disks(t, 2)
	r := &race{
		t: t, seed: uint64(time.Now().UnixNano()), tool: lab.NewTool(t), other: lab.NewTool(t),
		writers: map[string]*lab.Writer{}, sets: map[string]raced{}, codes: map[string]int{},
	}
	if text := os.Getenv("DMSNAP_SEED"); text != "" {
		var err error
		if r.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	r.rand = rand.New(rand.NewPCG(r.seed, 0))
	for i, name := range []string{"one", "two"} {
		dev := lab.Linear(t, "race-"+name, disks[0], 32*i, 16)
		r.origins = append(r.origins, dev)
		r.writers[dev] = lab.StartWriter(t, slots, dev)
	}
	for i := range 4 {
		r.stores = append(r.stores, lab.Store(t, fmt.Sprint("race-cow", i), disks[1], 32*i, 24))
	}
	return r
}

// draw makes up a command.
func (r *race) draw() *command {
	c := &command{tool: r.tool, name: []string{"x", "y", "z"}[r.rand.IntN(3)], origin: r.origins[r.rand.IntN(2)]}
	store := r.stores[r.rand.IntN(len(r.stores))]
	switch n := r.rand.IntN(10); {
	case n < 4:
		c.verb = "create"
		c.args = []string{"create", c.origin, "--name", c.name, "--store", store, "--size", "8m", "--force-store", "--json"}
		if r.rand.IntN(3) == 0 {
			c.args = append(c.args, "--persistent")
		}
	case n < 7:
		c.verb, c.args = "remove", []string{"remove", c.name}
	case n < 8:
		c.verb, c.args = "extend", []string{"extend", c.name, "+1m"}
		if r.rand.IntN(2) == 0 {
			c.args = append(c.args, "--store", store)
		}
	case n < 9:
		c.verb, c.args = "recover", []string{"recover"}
		if r.rand.IntN(2) == 0 {
			c.tool = r.other
		}
	default:
		c.verb, c.args = "thaw", []string{"thaw"}
	}
	return c
}

func (r *race) round(n int) {
	a, b := r.draw(), r.draw()
	if n%2 == 0 { // what is new must have something to meet
		a.verb, a.name, a.args = "create", "x", []string{"create", a.origin, "--name", "x", "--store", r.stores[0], "--size", "8m", "--force-store", "--json"}
		a.tool = r.tool
	}
	pause := time.Duration(r.rand.Int64N(int64(time.Second)))
	for _, w := range r.writers {
		w.WaitFor(r.t, 2)
	}
	var both sync.WaitGroup
	for i, c := range []*command{a, b} {
		both.Go(func() {
			if i == 1 {
				time.Sleep(pause)
			}
			c.out, c.err, c.code = c.tool.Try(c.args...)
		})
	}
	both.Wait()
	for _, c := range []*command{a, b} {
		r.codes[fmt.Sprint(c.verb, " ", c.code)]++
		if c.code == 10 || c.code == 11 {
			r.tool.OK("recover")
		}
	}
	for _, w := range r.writers {
		w.WaitFor(r.t, 2) // nobody is held
	}
	r.compare(a, b)
}

// compare holds what is there against what the commands said.
func (r *race) compare(a, b *command) {
	r.t.Helper()
	what := fmt.Sprintf("%v: %d %s; %v: %d %s", a.args, a.code, a.err, b.args, b.code, b.err)
	removed := func(name string) bool {
		return slices.ContainsFunc([]*command{a, b}, func(c *command) bool {
			return c.verb == "remove" && c.name == name && (c.code == 0 || c.code == 10)
		})
	}
	made := map[string]lab.Set{}
	for _, c := range []*command{a, b} {
		if c.verb == "create" && (c.code == 0 || c.code == 9) {
			set := r.parse(c.out)[0]
			made[set.UUID] = set
		}
	}
	there := map[string]bool{}
	for _, set := range r.parse(r.tool.OK("list", "--json")) {
		known, old := r.sets[set.Name]
		fresh, new := made[set.UUID]
		if set.Layer {
			continue // what is left of a removed set: its name is gone, and it goes with its last reader
		}
		there[set.UUID] = true
		switch {
		case !new && (!old || known.uuid != set.UUID):
			r.t.Errorf("set %s is there, and nobody said so\n%s", set.Name, what)
			continue
		case set.State != "active":
			r.t.Errorf("set %s is %s: %s\n%s", set.Name, set.State, set.Volumes[0].Reason, what)
			continue
		case new:
			known = raced{set.UUID, set.Volumes[0].Device, set.Volumes[0].Origin, 0}
		}
		got := lab.Check(r.t, known.device, slots)
		if new {
			known.records = got
			r.writers[known.origin].Expect(r.t, set.Name, fresh.Receipt, got)
		} else if got != known.records {
			r.t.Errorf("the image of %s held %d records and holds %d\n%s", set.Name, known.records, got, what)
		}
		r.sets[set.Name] = known
	}
	for name, set := range r.sets {
		if there[set.uuid] {
			continue
		}
		if !removed(name) {
			r.t.Errorf("set %s is gone, and nobody said so\n%s", name, what)
		}
		delete(r.sets, name)
	}
	for uuid, set := range made {
		if !there[uuid] && !removed(set.Name) {
			r.t.Errorf("set %s was made and is not there\n%s", set.Name, what)
		}
	}
}

func (r *race) parse(text string) []lab.Set {
	r.t.Helper()
	var out struct{ Sets []lab.Set }
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		r.t.Fatalf("%v\n%s", err, text)
	}
	return out.Sets
}
