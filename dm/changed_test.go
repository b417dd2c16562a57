package dm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// changedBetween lists what changed, and expects that to be all.
func (c *chain) changedBetween(t *testing.T, set, since string) []Extent {
	t.Helper()
	found, err := collect(c.m.Changed(c.ctx, ChangedRequest{Set: set, Since: since}))
	check(t, err)
	return found
}

func collect(list *ExtentList, err error) (all []Extent, _ error) {
	if err != nil {
		return nil, err
	}
	for e, err := range list.All {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

// covers compares a list with two pasts: it is sorted, no two extents touch, all chunks
// that differ are in it, and exact: no others.
func (c *chain) covers(t *testing.T, when string, list []Extent, one, other string, exact bool) {
	t.Helper()
	for i, e := range list {
		if e.Length == 0 || i > 0 && list[i-1].Offset+list[i-1].Length >= e.Offset {
			t.Errorf("%s: %v", when, list)
		}
	}
	a, b := c.past[one], c.past[other]
	const chunk = 64 << 10
	for n := uint64(0); n < pastBytes; n += chunk {
		listed := slices.ContainsFunc(list, func(e Extent) bool { return e.Offset <= n && n+chunk <= e.Offset+e.Length })
		differs := !bytes.Equal(a[n:n+chunk], b[n:n+chunk])
		if differs && !listed || exact && listed && !differs {
			t.Errorf("%s: %s since %s: chunk %d differs: %v, listed: %v", when, other, one, n/chunk, differs, listed)
		}
	}
}

// TestChanged: chained sets know what changed between any two of them, in both
// directions, when one in the middle was removed, and when its layer is flattened.
func TestChanged(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		c, _ := threeChained(t, o)
		c.cut(t, "d")
		all := func(when string, names ...string) {
			t.Helper()
			for _, a := range names {
				for _, b := range names {
					c.covers(t, when, c.changedBetween(t, b, a), a, b, true)
				}
			}
		}
		all("four sets", "a", "b", "c", "d")
		layer := "layer-" + set(t, c, "b").UUID
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
		c.covers(t, "since a layer", c.changedBetween(t, "d", layer), "b", "d", true)
		all("b is a layer", "a", "c", "d")
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: layer, Flatten: true}))
		all("b is flattened", "a", "c", "d")
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "d"}))
		all("the newest is a layer", "a", "c")
		c.healthy(t)
	})
}

// TestChangedFrom: a list that goes on from somewhere is the rest of the whole one.
func TestChangedFrom(t *testing.T) {
	hostOnly(t)
	c, _ := threeChained(t, ioctltest.Options{})
	list, err := c.m.Changed(c.ctx, ChangedRequest{Set: "c", Volume: "/home", Since: set(t, c, "a").UUID})
	check(t, err)
	if list.Set != "c" || list.Since != "a" || list.Volume != "home" || list.SizeBytes != 16*mib || list.Granularity != 64<<10 || list.UUID != set(t, c, "c").UUID {
		t.Errorf("%+v", list)
	}
	whole, err := collect(list, nil)
	check(t, err)
	for _, from := range []uint64{1, 64 << 10, 100000, whole[len(whole)-1].Offset + 5, 16 * mib, 17 * mib} {
		got, err := collect(c.m.Changed(c.ctx, ChangedRequest{Set: "c", Since: "a", From: from}))
		check(t, err)
		var want []Extent
		for _, e := range whole {
			if end := e.Offset + e.Length; end > from {
				start := max(e.Offset, from)
				want = append(want, Extent{start, end - start})
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %d: %v, want %v", from, got, want)
		}
	}
	if same, err := collect(c.m.Changed(c.ctx, ChangedRequest{Set: "c", Since: "c"})); err != nil || len(same) > 0 {
		t.Errorf("%v, %v", same, err)
	}
}

// refused expects a reason to copy all.
func refused(t *testing.T, what string, err error, reason FullReason) {
	t.Helper()
	full, ok := errors.AsType[*FullRequired](err)
	if !ok || full.Reason != reason || !errors.Is(err, ErrFullRequired) || full.Volume == "" || full.Since == "" {
		t.Errorf("%s: %v, want %s", what, err, reason)
	}
	if f := FailureOf(err); ok && (f.Reason != reason || f.Code != CodeFullRequired || f.Hint == "") {
		t.Errorf("%s: %+v", what, f)
	}
}

// TestChangedRefused: what is not recorded is never listed as unchanged.
func TestChangedRefused(t *testing.T) {
	hostOnly(t)
	ask := func(c *chain, set, since string) error {
		list, err := collect(c.m.Changed(c.ctx, ChangedRequest{Set: set, Since: since}))
		if err == nil {
			t.Errorf("%s since %s: %v", set, since, list)
		}
		return err
	}
	c, _ := threeChained(t, ioctltest.Options{})
	if err := ask(c, "c", "x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	other := c.request("other")
	other.Origins = []string{"/var"}
	c.cuts++
	other.Stores[""] = "/dev/cow3"
	c.create(t, other)
	refused(t, "another origin", ask(c, "c", "other"), FullUnknownCursor)

	c = newChain(t, ioctltest.Options{})
	r := c.request("a")
	r.Persistent, r.Transient = false, true
	c.create(t, r)
	c.cuts++
	c.cut(t, "b")
	refused(t, "a transient set", ask(c, "b", "a"), FullUnsupported)
	refused(t, "a transient set is newer", ask(c, "a", "b"), FullUnsupported)

	c = newChain(t, ioctltest.Options{})
	r = c.request("a")
	r.Writable = true
	c.create(t, r)
	c.cuts++
	c.cut(t, "b")
	refused(t, "a writable set", ask(c, "b", "a"), FullUnsupported)
}

// TestChangedAfterLoss: a set that is lost, or a layer between, is a reason to copy all; if it
// is the image to be copied that is lost, there is none.
func TestChangedAfterLoss(t *testing.T) {
	hostOnly(t)
	for what, row := range map[string]struct {
		spoil      func(c *chain, layer string)
		set, since string
		lost       State // of the image; "": a full copy is possible
	}{
		"a layer between": {func(c *chain, layer string) { c.Invalidate("dmsnap-core-" + layer + "-home") }, "c", "a", ""},
		"the older one":   {func(c *chain, _ string) { c.Invalidate("dmsnap-core-a-home") }, "c", "a", ""},
		"backwards":       {func(c *chain, _ string) { c.Invalidate("dmsnap-core-a-home") }, "a", "c", StateInvalid},
		"the newer one":   {func(c *chain, _ string) { c.Invalidate("dmsnap-core-c-home") }, "c", "a", StateInvalid},
		"bypassed": {func(c *chain, _ string) {
			c.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"})
		}, "c", "a", StateBypassed},
	} {
		c, _ := threeChained(t, ioctltest.Options{})
		layer := "layer-" + set(t, c, "b").UUID
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
		list, err := c.m.Changed(c.ctx, ChangedRequest{Set: row.set, Since: row.since})
		check(t, err)
		row.spoil(c, layer)
		_, late := collect(list, nil)
		_, err = collect(c.m.Changed(c.ctx, ChangedRequest{Set: row.set, Since: row.since}))
		for _, err := range []error{err, late} {
			if row.lost == "" {
				refused(t, what, err, FullTrackerFailed)
				continue
			}
			if state, ok := errors.AsType[*StateError](err); !ok || state.State != row.lost || errors.Is(err, ErrFullRequired) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// TestChangedFails fails each system call of it: there is an error then, or the list is
// the whole one all the same.
func TestChangedFails(t *testing.T) {
	hostOnly(t)
	c, _ := threeChained(t, ioctltest.Options{})
	first := c.Calls()
	want := c.changedBetween(t, "c", "a")
	calls := c.Calls() - first
	for n := range calls {
		seen := 0
		c.Fail(func(ioctltest.Call) error {
			if seen++; seen == n+1 {
				return unix.EIO
			}
			return nil
		})
		got, err := collect(c.m.Changed(c.ctx, ChangedRequest{Set: "c", Since: "a"}))
		c.Fail(nil)
		if err == nil && !slices.Equal(got, want) {
			t.Errorf("call %d of %d: %v", n, calls, got)
		}
	}
	c.healthy(t)
}

// TestChangedMeanwhile has an operation run whole in the middle of a list, at each call
// of it: the list is right, or there is an error.
func TestChangedMeanwhile(t *testing.T) {
	hostOnly(t)
	acts := map[string]func(*chain) error{
		"cut":     func(c *chain) error { _, err := c.m.Create(c.ctx, c.request("new")); return err },
		"remove":  func(c *chain) error { return c.m.Remove(c.ctx, RemoveRequest{Name: "b"}) },
		"newest":  func(c *chain) error { return c.m.Remove(c.ctx, RemoveRequest{Name: "d"}) },
		"flatten": func(c *chain) error { return c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}) },
		"extend": func(c *chain) error {
			_, err := c.m.Extend(c.ctx, ExtendRequest{Name: "d", Size: Size{Bytes: mib}, Relative: true})
			return err
		},
		"the set itself": func(c *chain) error { return c.m.Remove(c.ctx, RemoveRequest{Name: "c"}) },
	}
	stride := 7 // of calls
	if lab.Full() {
		stride = 1
	}
	for name, act := range acts {
		for n := 0; ; n += stride {
			c, _ := threeChained(t, ioctltest.Options{})
			r := c.request("d")
			r.StoreSize = Size{Bytes: 4 * mib}
			c.create(t, r)
			c.taken(t, "d")
			c.write(t)
			c.cuts = 4
			var seen atomic.Int64 // the threads of a window call too
			c.Fail(func(ioctltest.Call) error {
				if seen.Add(1) == int64(n)+1 {
					if err := act(c); err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrPartial) {
						t.Errorf("%s: %v", name, err)
					}
					c.write(t)
				}
				return nil
			})
			got, err := collect(c.m.Changed(c.ctx, ChangedRequest{Set: "c", Since: "a"}))
			c.Fail(nil)
			when := fmt.Sprintf("%s at call %d", name, n)
			switch {
			case err == nil:
				c.covers(t, when, got, "a", "c", name != "the set itself")
			case name != "the set itself":
				t.Errorf("%s: %v", when, err)
			}
			if seen.Load() <= int64(n) {
				break
			}
		}
	}
}

// TestChangedReadsTheRightStore: the number of a store that is gone by the time it is opened may
// be another's by then, which has no records of this volume.
func TestChangedReadsTheRightStore(t *testing.T) {
	hostOnly(t)
	c, _ := threeChained(t, ioctltest.Options{})
	elsewhere := func(name, store string) {
		r := c.request(name)
		r.Origins, r.Stores = []string{"/var"}, map[string]string{"": store}
		c.create(t, r)
	}
	elsewhere("first", "/dev/cow3") // the second one needs no base, and its store is made first
	store, err := c.Border().Stat("/dev/mapper/dmsnap-store-b-home")
	check(t, err)
	opened := fmt.Sprint("/dev/dm-", store.Rdev.Minor)
	var done atomic.Bool
	c.Fail(func(call ioctltest.Call) error {
		if call.Op == "open" && call.Path == opened && !done.Swap(true) {
			check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}))
			elsewhere("second", "/dev/cow4")
		}
		return nil
	})
	got := c.changedBetween(t, "c", "a")
	c.Fail(nil)
	other, err := c.Border().Stat("/dev/mapper/dmsnap-store-second-var")
	if err != nil || other.Rdev != store.Rdev {
		t.Fatalf("the number is not used again: %v, %v", other.Rdev, err)
	}
	c.covers(t, "another store", got, "a", "c", true)
}

// TestChangedAtRandom cuts, writes, removes and flattens at random. Any two sets that are
// there have a list of what differs between them, exact but for what was written in
// the middle of a cut.
func TestChangedAtRandom(t *testing.T) {
	hostOnly(t)
	for seed := range uint64(lab.Rounds(t, 4, 40)) {
		r := rand.New(rand.NewPCG(seed, 18))
		c := newChain(t, ioctltest.Options{})
		for i := range 4 {
			c.AddDisk(fmt.Sprint("more", i), ioctl.DevNo{Major: 66, Minor: uint32(16 * i)}, 16*mib)
		}
		var names []string
		free := []string{"/dev/cow0", "/dev/cow1", "/dev/cow2", "/dev/cow3", "/dev/cow4", "/dev/more0", "/dev/more1", "/dev/more2", "/dev/more3"}
		for step := range 14 {
			if len(names) < 2 || len(free) > 0 && r.IntN(3) > 0 {
				name := fmt.Sprint("s", step)
				request := c.request(name)
				request.Stores[""] = free[0]
				request.ChunkBytes = []uint64{4 << 10, 16 << 10, 64 << 10}[r.IntN(3)]
				free = free[1:]
				c.create(t, request)
				c.taken(t, name)
				names = append(names, name)
			} else {
				i := r.IntN(len(names))
				check(t, c.m.Remove(c.ctx, RemoveRequest{Name: names[i], Flatten: r.IntN(2) == 0}))
				names = slices.Delete(names, i, i+1)
			}
			for range r.IntN(5) {
				b := make([]byte, 64<<10)
				fill(b, byte(r.Uint32()))
				check(t, c.Write(c.home, uint64(r.IntN(16))<<16, b))
			}
			a, b := names[r.IntN(len(names))], names[r.IntN(len(names))]
			c.covers(t, fmt.Sprint("seed ", seed, " step ", step), c.changedBetween(t, b, a), a, b, false)
		}
		c.healthy(t)
	}
}
