package dm

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/extents"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// overlaps tells whether any of a list lies in some ranges.
func overlaps(list []Extent, in []extents.Extent) bool {
	return slices.ContainsFunc(list, func(e Extent) bool {
		return slices.ContainsFunc(in, func(o extents.Extent) bool { return e.Offset < o.End && o.Start < e.Offset+e.Length })
	})
}

// ownBlocks are those of the stores that lie on home.
func (c *chain) ownBlocks(t *testing.T) []extents.Extent {
	t.Helper()
	ctl, err := c.Border().OpenControl()
	check(t, err)
	defer ctl.Close()
	v, err := (&stack.Reader{Kernel: c.Border(), Control: ctl}).Look()
	check(t, err)
	base := v.Named("dmsnap-base-home")
	return ownOn(&view{View: v}, base.Dev)
}

// TestListsLeaveOwnBlocksOut: blocks of stores on the origin are written to beneath the front. They
// are listed only where an image has what was there before.
func TestListsLeaveOwnBlocksOut(t *testing.T) {
	hostOnly(t)
	var c *chain
	var own []extents.Extent // of the first round, which has no other purpose
	for range 2 {
		c = newChain(t, ioctltest.Options{})
		c.cut(t, "a")
		if own != nil { // a file had them meanwhile
			check(t, c.Write(c.home, own[0].Start, make([]byte, 128<<10)))
		}
		r := c.request("b")
		r.Stores, r.StoreSize = map[string]string{"": "file:/home"}, Size{Bytes: 2 * mib}
		c.create(t, r)
		c.taken(t, "b")
		c.write(t)
		now := c.ownBlocks(t)
		if len(now) == 0 || own != nil && !slices.Equal(now, own) {
			t.Fatalf("the store lies at %v, and then at %v", own, now)
		}
		own = now
	}
	list := c.changedBetween(t, "b", "a")
	c.covers(t, "with a store on the origin", list, "a", "b", false)
	if overlaps(list, own) {
		t.Errorf("%v has some of %v", list, own)
	}
	if back := c.changedBetween(t, "a", "b"); !overlaps(back, own) {
		t.Errorf("a needs what was in %v: %v", own, back)
	}
	used, err := collect(c.m.Allocated(c.ctx, AllocatedRequest{Set: "b"}))
	check(t, err)
	if overlaps(used, own) {
		t.Errorf("in use: %v, of it own: %v", used, own)
	}
}

// TestAllocated: what a frozen filesystem says is free is left out, in whole pages; where
// that cannot be relied on nothing is.
func TestAllocated(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	for _, dir := range []string{"/home", "/var"} {
		f, err := h.Border().Open(dir+"/file", unix.O_RDWR|unix.O_CREAT, 0o600)
		check(t, err)
		check(t, errors.Join(f.Allocate(0, 300000), f.Close()))
	}
	h.create(t, both())
	ask := func(volume string) ([]Extent, *ExtentList) {
		t.Helper()
		list, err := h.m.Allocated(h.ctx, AllocatedRequest{Set: "nightly", Volume: volume})
		check(t, err)
		all, err := collect(list, nil)
		check(t, err)
		return all, list
	}
	for _, volume := range []string{"home", "/var"} {
		all, list := ask(volume)
		sum := uint64(0)
		for _, e := range all {
			sum += e.Length
			if e.Offset%4096+e.Length%4096 > 0 {
				t.Errorf("%v", e)
			}
		}
		if list.Whole != "" || sum < 300000 || sum >= list.SizeBytes/2 {
			t.Errorf("%s: %d bytes of %d, %q: %v", volume, sum, list.SizeBytes, list.Whole, all)
		}
	}
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.EIO} {
		h.Fail(func(c ioctltest.Call) error {
			if c.Request == "FS_IOC_GETFSMAP" {
				return errno
			}
			return nil
		})
		list, err := h.m.Allocated(h.ctx, AllocatedRequest{Set: "nightly", Volume: "home"})
		all, _ := collect(list, err)
		if known := errno == unix.EOPNOTSUPP; known && (err != nil || list.Whole == "" || len(all) != 1 || all[0].Length != list.SizeBytes) || !known && !errors.Is(err, errno) {
			t.Errorf("%v: %v, %v", errno, all, err)
		}
	}
	h.Fail(nil)
	check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
	r := both()
	r.Consistency = Crash
	h.create(t, r)
	if all, list := ask("home"); list.Whole == "" || len(all) != 1 || all[0] != (Extent{0, list.SizeBytes}) {
		t.Errorf("not frozen: %q, %v", list.Whole, all)
	}
	h.Invalidate("dmsnap-nightly-home")
	if _, err := h.m.Allocated(h.ctx, AllocatedRequest{Set: "nightly", Volume: "home"}); !errors.As(err, new(*StateError)) {
		t.Errorf("of an image that is lost: %v", err)
	}
	h.healthy(t)
}
