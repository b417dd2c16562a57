package dm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// chain is a host on which persistent sets of home are cut one after the other,
// each after other chunks were written, and what each image must hold.
type chain struct {
	*host
	past map[string][]byte // by name of the set
	cuts int
}

const (
	pastBytes = 16 * 64 << 10 // of home, from its start
	stores    = 5
)

func newChain(t *testing.T, o ioctltest.Options) *chain {
	t.Helper()
	c := &chain{host: newHost(t, o), past: map[string][]byte{}}
	for i := range stores {
		c.AddDisk(fmt.Sprint("cow", i), ioctl.DevNo{Major: 65, Minor: uint32(16 * i)}, 16*mib)
	}
	c.write(t)
	return c
}

func (c *chain) request(name string) CreateRequest {
	return CreateRequest{Name: name, Origins: []string{"/home"}, Stores: map[string]string{"": fmt.Sprint("/dev/cow", c.cuts%stores)}, Persistent: true}
}

// cut takes a set and then writes to every chunk but one in three.
func (c *chain) cut(t *testing.T, name string) *Set {
	t.Helper()
	set := c.create(t, c.request(name))
	c.taken(t, name)
	c.write(t)
	return set
}

// taken notes what home holds, as what the image of a set has to.
func (c *chain) taken(t *testing.T, name string) {
	t.Helper()
	c.past[name] = make([]byte, pastBytes)
	check(t, c.Read(c.home, 0, c.past[name]))
	c.cuts++
}

func (c *chain) write(t *testing.T) {
	t.Helper()
	b := make([]byte, 64<<10)
	fill(b, byte(c.cuts+1))
	for n := 0; n < pastBytes; n += len(b) {
		if (n/len(b)+c.cuts)%3 > 0 {
			check(t, c.Write(c.home, uint64(n), b))
		}
	}
}

// right compares every image there is with the past of its set.
func (c *chain) right(t *testing.T, when string) {
	t.Helper()
	sets, err := New(c.m.opts).List(c.ctx)
	check(t, err)
	for _, set := range sets {
		if set.State != StateActive {
			t.Errorf("%s: %s is %s: %s", when, set.Name, set.State, set.Volumes[0].Reason)
			continue
		}
		if set.Layer {
			continue
		}
		if err := c.Protected("dmsnap-" + set.Name + "-home"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if got := c.image(t, set); !bytes.Equal(got, c.past[set.Name]) {
			t.Errorf("%s: the image of %s is wrong: %s", when, set.Name, chunks(got, c.past[set.Name]))
		}
	}
	c.healthy(t)
}

func (c *chain) image(t *testing.T, set Set) []byte {
	t.Helper()
	dev := set.Volumes[0].Devno
	got := make([]byte, pastBytes)
	check(t, c.Read(dev, 0, got))
	return got
}

func chunks(got, want []byte) string {
	var b strings.Builder
	for n := 0; n < len(want); n += 64 << 10 {
		fmt.Fprintf(&b, " %d/%d", got[n], want[n])
	}
	return b.String()
}

func (c *chain) set(t *testing.T, name string) Volume {
	t.Helper()
	set, err := c.m.Show(c.ctx, name)
	check(t, err)
	return set.Volumes[0]
}

// TestOnlyTheNewestSetIsCopiedFor: older ones read through it, and their stores
// do not grow any more.
func TestOnlyTheNewestSetIsCopiedFor(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		c := newChain(t, o)
		before := c.Snapshot()
		c.cut(t, "a")
		c.cut(t, "b")
		c.cut(t, "c")
		c.right(t, "three sets")
		a, b, last := c.set(t, "a"), c.set(t, "b"), c.set(t, "c")
		if a.ReadsThrough != "b" || a.Depth != 2 || b.ReadsThrough != "c" || !slices.Equal(b.ReadBy, []string{"a"}) || !slices.Equal(last.ReadBy, []string{"a", "b"}) || last.ReadsThrough != "" || len(last.Beside) > 0 {
			t.Errorf("a: %+v\nb: %+v\nc: %+v", a, b, last)
		}
		c.cuts++
		c.write(t)
		if now := c.set(t, "a"); *now.Store.UsedBytes != *a.Store.UsedBytes {
			t.Errorf("the store of a grew from %d to %d", *a.Store.UsedBytes, *now.Store.UsedBytes)
		}
		if now := c.set(t, "c"); *now.Store.UsedBytes <= *last.Store.UsedBytes {
			t.Error("the store of c did not grow")
		}
		for _, name := range []string{"b", "a", "c"} {
			check(t, c.m.Remove(c.ctx, RemoveRequest{Name: name}))
			c.right(t, "without "+name)
		}
		same(t, "after the removals", withoutData(before), withoutData(c.Snapshot()))
	})
}

// withoutData leaves out what is on disks.
func withoutData(state string) string {
	var out []string
	for _, l := range strings.Split(state, "\n") {
		if cut := strings.Index(l, " data="); strings.HasPrefix(l, "disk ") && cut > 0 {
			l = l[:cut]
		}
		out = append(out, l)
	}
	return strings.Join(out, "\n")
}

// TestChainedSetsGoInAnyOrder: no set is lost because another was removed, with
// the records of what is there or without.
func TestChainedSetsGoInAnyOrder(t *testing.T) {
	hostOnly(t)
	names := []string{"a", "b", "c", "d"}[:lab.Rounds(t, 3, 4)]
	for _, lost := range []bool{false, true} {
		for _, order := range permutations(len(names)) {
			c := newChain(t, ioctltest.Options{})
			before := c.Snapshot()
			for _, name := range names {
				c.cut(t, name)
			}
			for n, i := range order {
				if lost && n == 1 {
					c.each(t, "sets", func(file string) error { return c.Border().Unlink(file) })
				}
				check(t, c.m.Remove(c.ctx, RemoveRequest{Name: names[i]}))
				c.right(t, fmt.Sprint("order ", order, " at ", n))
			}
			same(t, fmt.Sprint("order ", order), withoutData(before), withoutData(c.Snapshot()))
			if t.Failed() {
				return
			}
		}
	}
}

func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return all
}

// TestNotChained: an older set that cannot read through a newer one is copied for
// too, and both are right.
func TestNotChained(t *testing.T) {
	for why, change := range map[string]func(older, newer *CreateRequest){
		"its store is not persistent": func(older, _ *CreateRequest) { older.Persistent = false },
		"it is writable":              func(older, _ *CreateRequest) { older.Writable = true },
		"":                            func(_, newer *CreateRequest) { newer.Persistent, newer.Transient = false, true },
	} {
		c := newChain(t, ioctltest.Options{})
		older, newer := c.request("a"), c.request("b")
		change(&older, &newer)
		newer.Stores = map[string]string{"": "/dev/cow1"}
		c.create(t, older)
		c.taken(t, "a")
		c.write(t)
		c.create(t, newer)
		c.taken(t, "b")
		c.write(t)
		c.right(t, why)
		if b := c.set(t, "b"); len(b.ReadBy) > 0 || !slices.Equal(b.Beside, []Beside{{"a", why}}) {
			t.Errorf("%s: %+v", why, b)
		}
	}
	t.Run("the newer one is writable", func(t *testing.T) {
		c := newChain(t, ioctltest.Options{})
		c.cut(t, "a")
		r := c.request("b")
		r.Writable = true
		c.create(t, r)
		c.taken(t, "b")
		c.write(t)
		c.right(t, "writable")
		c.cut(t, "c") // takes a along, and leaves b
		c.right(t, "a third set")
		if last := c.set(t, "c"); !slices.Equal(last.ReadBy, []string{"a"}) || len(last.Beside) != 1 || last.Beside[0].Set != "b" {
			t.Errorf("%+v", last)
		}
	})
}

// TestTakesOverByItself: where there is a persistent set the next ones are too,
// unless they are short-lived or shall not be.
func TestTakesOverByItself(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	for _, row := range []struct {
		change func(*CreateRequest)
		want   bool
	}{
		{func(*CreateRequest) {}, false},
		{func(r *CreateRequest) { r.Persistent = true }, true},
		{func(*CreateRequest) {}, true},
		{func(r *CreateRequest) { r.Lease = Lease{Boot: true} }, false},
	} {
		r := c.request(fmt.Sprint("s", c.cuts))
		r.Persistent = false
		row.change(&r)
		set := c.create(t, r)
		c.taken(t, set.Name)
		c.write(t)
		if set.Persistent != row.want {
			t.Errorf("%s: persistent is %v", set.Name, set.Persistent)
		}
	}
	c.right(t, "all cut")
	if v := c.set(t, "s1"); v.ReadsThrough != "s2" {
		t.Errorf("%+v", v)
	}
	r := c.request("s9")
	r.Transient = true
	if _, err := c.m.Create(c.ctx, r); !errors.Is(err, ErrUsage) {
		t.Errorf("persistent and transient: %v", err)
	}
}

// TestLostWithTheNewest: what is read through is lost for all that do.
func TestLostWithTheNewest(t *testing.T) {
	c := newChain(t, ioctltest.Options{})
	c.cut(t, "a")
	c.cut(t, "b")
	c.cut(t, "c")
	c.Invalidate("dmsnap-core-c-home")
	for _, name := range []string{"a", "b", "c"} {
		v := c.set(t, name)
		if v.State != StateInvalid || name != "c" && !strings.Contains(v.Reason, "it reads through set c") {
			t.Errorf("%s is %s: %s", name, v.State, v.Reason)
		}
	}
	d := c.cut(t, "d")
	if b := d.Volumes[0].Beside; len(b) != 1 || b[0].Why != "the kernel invalidated it" {
		t.Errorf("%+v", b)
	}
}

// TestBypassedChain: a front that somebody reloads is bad for all.
func TestBypassedChain(t *testing.T) {
	c := newChain(t, ioctltest.Options{})
	c.cut(t, "a")
	c.cut(t, "b")
	c.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"})
	for _, name := range []string{"a", "b"} {
		if v := c.set(t, name); v.State != StateBypassed {
			t.Errorf("%s is %s", name, v.State)
		}
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: name}))
	}
	if left := dmLines(c.Snapshot()); strings.Contains(left, "dmsnap") {
		t.Errorf("left over:\n%s", left)
	}
}
