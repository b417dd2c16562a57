package dm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// threeChained has sets a, b and c: b is in the middle.
func threeChained(t *testing.T, o ioctltest.Options) (c *chain, clean string) {
	t.Helper()
	c, clean = twoChained(t, o)
	c.cut(t, "c")
	return c, clean
}

// TestFlatten: a set in the middle goes with its store; the older one gets what only
// that had, and no more.
func TestFlatten(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		c, clean := threeChained(t, o)
		had := *c.set(t, "a").Store.UsedBytes
		var told []string
		r := RemoveRequest{Name: "b", Flatten: true, Progress: func(set string, done, total uint64) {
			told = append(told, fmt.Sprintf("%s %d of %d", set, done>>16, total>>16))
		}}
		id := set(t, c, "b").UUID
		check(t, c.m.Remove(c.ctx, r))
		c.right(t, "flattened")
		a := c.set(t, "a")
		if a.ReadsThrough != "c" || a.Depth != 1 {
			t.Errorf("a reads through %s, %d layers", a.ReadsThrough, a.Depth)
		}
		// Of sixteen chunks a has those written after it; five were left out, and then written after b.
		if want := []string{plan.LayerName(id) + " 5 of 5"}; strings.Join(told, ",") != strings.Join(want, ",") {
			t.Errorf("told %q, want %q", told, want)
		}
		if grew := *a.Store.UsedBytes - had; grew != 5<<16 {
			t.Errorf("a grew by %d bytes", grew)
		}
		if a.Writable {
			t.Error("a is writable")
		}
		sets, err := c.m.List(c.ctx)
		if err != nil || len(sets) != 2 {
			t.Errorf("%d sets, %v", len(sets), err)
		}
		for _, name := range []string{"c", "a"} {
			check(t, c.m.Remove(c.ctx, RemoveRequest{Name: name}))
			c.right(t, "without "+name)
		}
		same(t, "after the removals", withoutData(clean), withoutData(c.Snapshot()))
	})
}

func set(t *testing.T, c *chain, name string) *Set {
	t.Helper()
	set, err := c.m.Show(c.ctx, name)
	check(t, err)
	return set
}

// TestFlattenAtTheEnds: the oldest has nobody to flatten into, and the newest is copied
// into still: what others need of it stays, and is flattened when a newer one is cut.
func TestFlattenAtTheEnds(t *testing.T) {
	hostOnly(t)
	c, clean := threeChained(t, ioctltest.Options{Udev: true})
	layer := plan.LayerName(set(t, c, "c").UUID)
	dry, err := c.m.PlanRemove(c.ctx, RemoveRequest{Name: "b", Flatten: true})
	check(t, err)
	var actions []string
	for _, s := range dry.Steps {
		actions = append(actions, s.Action+" "+s.Device+" "+s.Detail)
	}
	text := strings.Join(actions, "\n")
	for _, want := range []string{"rename dmsnap-core-b-home to dmsnap-core-layer-", "\nfold dmsnap-core-a-home "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the plan:\n%s", want, text)
		}
	}
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "c", Flatten: true}))
	c.right(t, "newest removed")
	if !set(t, c, layer).Layer {
		t.Error("no layer is left of c")
	}
	c.cut(t, "d")
	p, err := c.m.PlanRemove(c.ctx, RemoveRequest{Name: layer, Flatten: true})
	if err != nil || len(p.Steps) != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: layer, Flatten: true}))
	c.right(t, "flattened")
	if b := c.set(t, "b"); b.ReadsThrough != "d" {
		t.Errorf("b reads through %s", b.ReadsThrough)
	}
	for _, name := range []string{"a", "b", "d"} {
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: name, Flatten: true}))
		c.right(t, "without "+name)
	}
	same(t, "after the removals", withoutData(clean), withoutData(c.Snapshot()))
}

// TestFlattenNeedsRoom: a store that could not take the chunks is told of before
// anything is changed, and can be made larger.
func TestFlattenNeedsRoom(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	r := c.request("a")
	r.StoreSize = Size{Bytes: 15 * 64 << 10}
	c.create(t, r)
	c.taken(t, "a")
	c.write(t)
	c.cut(t, "b")
	c.cut(t, "c")
	before := withoutLocks(c.Snapshot())
	err := c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true})
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(errHint(err), "dmsnap extend a ") {
		t.Fatalf("%v, hint %q", err, errHint(err))
	}
	same(t, "refused", before, withoutLocks(c.Snapshot()))
	_, err = c.m.Extend(c.ctx, ExtendRequest{Name: "a", Size: Size{Bytes: mib}, Relative: true})
	check(t, err)
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}))
	c.right(t, "flattened")
}

func errHint(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.commandHint()
	}
	return ""
}

// TestFlattenWhatWasCopiedWhileChained: what was copied into the older store after the
// kernel had read it again, and before the older image left the base, is on that
// store, but the kernel does not know. A flattening writes over it.
func TestFlattenWhatWasCopiedWhileChained(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	c.cut(t, "a")
	past := make([]byte, pastBytes)
	check(t, c.Read(c.home, 0, past))
	b := make([]byte, 64<<10)
	fill(b, 99)
	late := false
	c.Fail(func(call ioctltest.Call) error {
		if call.Request == "DM_DEV_RESUME" && call.Name == "dmsnap-core-a-home" && !late {
			late = true
			check(t, c.Write(c.home, 2*64<<10, b))
		}
		return nil
	})
	c.create(t, c.request("b"))
	c.Fail(nil)
	c.taken(t, "b")
	c.past["b"] = past
	if !late {
		t.Fatal("nothing was written in between")
	}
	c.write(t)
	c.cut(t, "c")
	c.right(t, "chained")
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}))
	c.right(t, "flattened")
}

// TestFlattenInterrupted: one that was cancelled goes on where it was.
func TestFlattenInterrupted(t *testing.T) {
	hostOnly(t)
	c, _ := threeChained(t, ioctltest.Options{})
	layer := plan.LayerName(set(t, c, "b").UUID)
	ctx, cancel := context.WithCancel(c.ctx)
	err := c.m.Remove(ctx, RemoveRequest{Name: "b", Flatten: true, Rate: 1, Progress: func(string, uint64, uint64) { cancel() }})
	if !errors.Is(err, context.Canceled) || CodeOf(err) != CodePartial || !strings.Contains(errHint(err), layer) {
		t.Fatalf("%v, hint %q", err, errHint(err))
	}
	c.right(t, "cancelled")
	if a := c.set(t, "a"); a.ReadsThrough != layer || a.Writable {
		t.Errorf("%+v", a)
	}
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: layer, Flatten: true}))
	c.right(t, "flattened")
	if a := c.set(t, "a"); a.ReadsThrough != "c" {
		t.Errorf("a reads through %s", a.ReadsThrough)
	}
}

// TestFlattenFailsAnywhere fails each system call of a flattening, and ends the process
// there: every image is right, the flattening can go on, and all can be removed.
func TestFlattenFailsAnywhere(t *testing.T) {
	hostOnly(t)
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("kill ", kill), func(t *testing.T) {
			t.Parallel()
			for n := 1; flattenAnywhere(t, n, kill) && !t.Failed(); n += sparse() {
			}
		})
	}
}

func flattenAnywhere(t *testing.T, n int, kill bool) (more bool) {
	t.Helper()
	c, clean := threeChained(t, ioctltest.Options{})
	flatten := func(*host) error { return c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}) }
	var what string
	if kill {
		at, err := c.die(n, flatten)
		if at == nil {
			check(t, err)
			return false
		}
		c.Exit()
		what = fmt.Sprintf("killed before %s", at)
	} else {
		failed := c.failNth(n, unix.EIO)
		err := flatten(c.host)
		c.Fail(nil)
		if failed.past {
			check(t, err)
			return false
		}
		what = fmt.Sprintf("EIO at call %d, %s: %v", n, failed, err)
	}
	m := New(c.m.opts)
	_, err := m.Recover(c.ctx)
	check(t, err)
	c.right(t, what)
	sets, err := m.List(c.ctx)
	check(t, err)
	for _, set := range sets {
		if set.Layer {
			check(t, m.Remove(c.ctx, RemoveRequest{Name: set.Name, Flatten: true}))
		}
	}
	c.endsRight(t, what)
	same(t, what, dmLines(clean), dmLines(c.Snapshot()))
	return true
}

// TestFlattenAnyChunks: chunks of the sets may be smaller or larger than those of the
// one that is flattened, and the origin need not be a whole number of them.
func TestFlattenAnyChunks(t *testing.T) {
	hostOnly(t)
	sizes := []uint64{16 << 10, 64 << 10, 256 << 10}
	for _, older := range sizes {
		for _, newer := range sizes {
			c := newChain(t, ioctltest.Options{})
			c.cutIn(t, "a", older)
			c.cutIn(t, "b", newer)
			c.cutIn(t, "c", 64<<10)
			check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}))
			c.right(t, fmt.Sprintf("chunks of %d flattened into chunks of %d", newer, older))
			if a := c.set(t, "a"); a.ReadsThrough != "c" {
				t.Errorf("a reads through %s", a.ReadsThrough)
			}
		}
	}
}

// cutIn is cut with chunks of a size.
func (c *chain) cutIn(t *testing.T, name string, chunk uint64) {
	t.Helper()
	r := c.request(name)
	r.ChunkBytes = chunk
	c.create(t, r)
	c.taken(t, name)
	c.write(t)
}
