package dm

import (
	"slices"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestMonitorFlattens: what is left of removed sets goes by itself where images read
// through too many, from the oldest on, but not further.
func TestMonitorFlattens(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	var layers []string
	for _, name := range []string{"a", "b", "c"} {
		layers = append(layers, plan.LayerName(c.cut(t, name).UUID))
	}
	c.cut(t, "d")
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "c"}))
	notices := c.monitored(t, MonitorRequest{FlattenDepth: 2, Interval: time.Millisecond})
	if n := <-notices; n.Kind != EventFlattened || n.Set != layers[1] {
		t.Errorf("%+v", n)
	}
	c.right(t, "flattened")
	if a := c.set(t, "a"); a.ReadsThrough != layers[2] || a.Depth != 2 {
		t.Errorf("%+v", a)
	}
}

// TestChainGrows: the store of the newest set grows for all that read through it,
// by hand and by a monitor, also when that set is removed.
func TestChainGrows(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	c.cut(t, "a")
	r := c.request("b")
	r.StoreSize = Size{Bytes: 3 * mib / 2}
	c.create(t, r)
	c.taken(t, "b")
	c.write(t)
	_, err := c.m.Extend(c.ctx, ExtendRequest{Name: "b", Size: Size{Bytes: mib}, Relative: true})
	check(t, err)
	c.right(t, "grown by hand")
	id := set(t, c, "b").UUID
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
	notices := c.monitored(t, MonitorRequest{Threshold: 50, Interval: time.Millisecond})
	c.fill(t, 16, 30) // beyond what is compared
	layer := plan.LayerName(id)
	for _, want := range []EventKind{EventLow, EventGrown} {
		if n := <-notices; n.Kind != want || n.Set != layer || !slices.Equal(n.ReadBy, []string{"a"}) {
			t.Fatalf("%+v, want %s of %s", n, want, layer)
		}
	}
	c.right(t, "grown by the monitor")
	if c.set(t, "a").ReadsThrough != layer {
		t.Errorf("%+v", c.set(t, "a"))
	}
}

// TestNextToFlatten: the oldest leftover that is not copied into any more goes first, and
// only if a chain is too long.
func TestNextToFlatten(t *testing.T) {
	layer := func(name, through string, readers ...string) Set {
		return Set{Name: name, Layer: true, Volumes: []Volume{{ReadsThrough: through, ReadBy: readers, Depth: len(readers)}}}
	}
	newest := Set{Name: "today", Volumes: []Volume{{ReadBy: []string{"c", "b", "a"}}}}
	oldest := Set{Name: "a", Volumes: []Volume{{ReadsThrough: "b", Depth: 3}}}
	b, c := layer("b", "c", "a"), layer("c", "today", "b", "a")
	copied := layer("top", "", "c", "b", "a") // the kernel copies into it still
	for name, x := range map[string]struct {
		sets  []Set
		most  int
		tried map[string]bool
		want  string
	}{
		"too long":             {[]Set{newest, c, b, oldest}, 2, nil, "b"},
		"short enough":         {[]Set{newest, c, b, oldest}, 3, nil, ""},
		"the oldest failed":    {[]Set{newest, c, b, oldest}, 2, map[string]bool{"b": true}, "c"},
		"all failed":           {[]Set{newest, c, b, oldest}, 2, map[string]bool{"b": true, "c": true}, ""},
		"copied into":          {[]Set{copied, oldest}, 1, nil, ""},
		"no leftovers":         {[]Set{newest, oldest}, 0, nil, ""},
		"a set that has users": {[]Set{newest, {Name: "b", Volumes: b.Volumes}, oldest}, 0, nil, ""},
	} {
		if got := nextToFlatten(x.sets, x.most, x.tried); got != x.want {
			t.Errorf("%s: %q, not %q", name, got, x.want)
		}
	}
}
