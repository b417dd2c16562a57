package dm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func (c *chain) bookmark(t *testing.T, name string) *Set {
	t.Helper()
	set, err := c.m.Bookmark(c.ctx, BookmarkRequest{Name: name})
	check(t, err)
	return set
}

// TestBookmark: a bookmark goes on recording, a newer image tells what changed since then,
// and older bookmarks read through newer ones, removed ones too.
func TestBookmark(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		c := newChain(t, o)
		before := c.Snapshot()
		c.cut(t, "a")
		made := c.bookmark(t, "a")
		if v := made.Volumes[0]; !made.Bookmark || made.State != StateActive || v.Device != "" || v.Store.SizeBytes < v.Store.NeededBytes {
			t.Errorf("%+v", made)
		}
		c.cuts++
		c.write(t)
		c.cut(t, "b")
		c.covers(t, "since a bookmark", c.changedBetween(t, "b", "a"), "a", "b", true)
		c.bookmark(t, "b")
		c.cut(t, "d")
		c.covers(t, "since an older bookmark", c.changedBetween(t, "d", "a"), "a", "d", true)
		c.covers(t, "since a bookmark", c.changedBetween(t, "d", "b"), "b", "d", true)
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
		c.covers(t, "through a removed bookmark", c.changedBetween(t, "d", "a"), "a", "d", true)
		for _, name := range []string{"a", "d"} {
			check(t, c.m.Remove(c.ctx, RemoveRequest{Name: name}))
		}
		same(t, "all removed", withoutData(before), withoutData(c.Snapshot()))
	})
}

// TestBookmarkRefused: what has a reader is no bookmark, and a bookmark is never read.
func TestBookmarkRefused(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	c.cut(t, "a")
	c.cut(t, "b")
	bookmark := func(name string) error {
		_, err := c.m.Bookmark(c.ctx, BookmarkRequest{Name: name})
		return err
	}
	if err := bookmark("b"); !errors.Is(err, ErrBusy) {
		t.Errorf("a reads through it: %v", err)
	}
	if err := bookmark("x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	check(t, bookmark("a"))
	check(t, bookmark("b"))
	check(t, bookmark("b")) // it is one already
	r := c.request("transient")
	r.Persistent, r.Transient = false, true
	c.create(t, r)
	if err := bookmark("transient"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("transient: %v", err)
	}
	for what, try := range map[string]func() error{
		"mount":     func() error { _, err := c.m.Mount(c.ctx, "b", "/mnt/n"); return err },
		"read":      func() error { _, err := c.m.OpenVolume(c.ctx, OpenRequest{Set: "b"}); return err },
		"changed":   func() error { _, err := c.m.Changed(c.ctx, ChangedRequest{Set: "b", Since: "a"}); return err },
		"allocated": func() error { _, err := c.m.Allocated(c.ctx, AllocatedRequest{Set: "b"}); return err },
		"extend": func() error {
			_, err := c.m.Extend(c.ctx, ExtendRequest{Name: "b", Size: Size{Bytes: 4 * mib}})
			return err
		},
		"flatten": func() error { return c.m.Remove(c.ctx, RemoveRequest{Name: "b", Flatten: true}) },
	} {
		if err := try(); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
	c.healthy(t)
}

// TestBookmarkIsNotPruned: it neither goes by a keep rule nor takes the place of a set that has images.
func TestBookmarkIsNotPruned(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	labels := map[string]string{"series": "s"}
	for _, name := range []string{"a", "b"} {
		r := c.request(name)
		r.Labels = labels
		c.create(t, r)
		c.cuts++
	}
	c.bookmark(t, "a")
	keep, err := ParseKeepRules("last:1")
	check(t, err)
	pruned, err := c.m.Prune(c.ctx, PruneRequest{Labels: labels, Keep: keep})
	check(t, err)
	if len(pruned) != 1 || pruned[0].Set != "b" || !pruned[0].Keep || !set(t, c, "a").Bookmark {
		t.Errorf("%+v", pruned)
	}
}

// eachStore runs a test with each kind of store that a bookmark may have.
func eachStore(t *testing.T, test func(t *testing.T, next func() *chain)) {
	t.Helper()
	hostOnly(t)
	for _, spec := range []string{"", "file:/home/.cow", "file:/srv/.cow"} {
		t.Run(spec, func(t *testing.T) {
			next := func() *chain {
				c := newChain(t, ioctltest.Options{Udev: true})
				c.elsewhere(t)
				r := c.request("a")
				if spec != "" {
					r.Stores[""], r.StoreSize = spec, Size{Bytes: 4 * mib}
				}
				c.create(t, r)
				c.taken(t, "a")
				c.write(t)
				return c
			}
			test(t, next)
		})
	}
}

// TestBookmarkFreesItsFile: what the file of a store had of the past is given back to its filesystem, and the
// rest lies where the store's table says.
func TestBookmarkFreesItsFile(t *testing.T) {
	eachStore(t, func(t *testing.T, next func() *chain) {
		c := next()
		path := set(t, c, "a").Volumes[0].Store.Path
		had := c.allocated(t, path)
		c.bookmark(t, "a")
		if has := c.allocated(t, path); had > 0 && (has == 0 || has > had/2) {
			t.Errorf("%d bytes of %d", has, had)
		}
		c.exactSince(t, "a bookmark")
	})
}

// allocated is how much of a file its filesystem keeps blocks for; 0 of a device.
func (c *chain) allocated(t *testing.T, path string) (sum uint64) {
	t.Helper()
	if strings.HasPrefix(path, "/dev/") {
		return 0
	}
	f, err := c.Border().Open(path, unix.O_RDONLY, 0)
	check(t, err)
	all, err := f.Extents(0)
	check(t, errors.Join(err, f.Close()))
	for _, e := range all {
		sum += e.Length
	}
	return sum
}

// TestBookmarkFails: whatever call fails, the set is what it was, or a bookmark once the same
// call, or recover, has continued.
func TestBookmarkFails(t *testing.T) { eachStore(t, bookmarkFails) }

func bookmarkFails(t *testing.T, next func() *chain) {
	for n := 1; ; n += step() {
		c := next()
		before := withoutLocks(c.Snapshot())
		failed := c.failNth(n, unix.EIO)
		_, err := c.m.Bookmark(c.ctx, BookmarkRequest{Name: "a"})
		c.Fail(nil)
		c.healthy(t)
		switch {
		case failed.past:
			check(t, err)
			return
		case err == nil:
		case errors.Is(err, ErrPartial), errors.Is(err, ErrUnrecovered):
			_, err := c.m.Recover(c.ctx)
			check(t, err)
		default:
			same(t, failed.String()+": "+err.Error(), before, withoutLocks(c.Snapshot()))
			continue
		}
		c.exactSince(t, failed.String())
	}
}

// TestBookmarkKilled: recover ends in the set or in the bookmark.
func TestBookmarkKilled(t *testing.T) { eachStore(t, bookmarkKilled) }

func bookmarkKilled(t *testing.T, next func() *chain) {
	for n := 1; ; n += step() {
		c := next()
		at, err := c.die(n, func(h *host) error {
			_, err := h.m.Bookmark(context.Background(), BookmarkRequest{Name: "a"})
			return err
		})
		if at == nil {
			check(t, err)
			return
		}
		c.Exit()
		_, err = New(c.m.opts).Recover(context.Background())
		check(t, err)
		c.exactSince(t, "killed at "+at.String())
		if t.Failed() {
			return
		}
	}
}

// exactSince expects that set a, bookmark or not, has the list of what changed since, and an
// image if it is none.
func (c *chain) exactSince(t *testing.T, when string) {
	t.Helper()
	c.healthy(t)
	a := set(t, c, "a")
	if a.State != StateActive || a.Bookmark != (a.Volumes[0].Devno == DevNo{}) {
		t.Errorf("%s: %+v", when, a)
	}
	c.cut(t, "b")
	c.covers(t, when, c.changedBetween(t, "b", "a"), "a", "b", true)
	for _, name := range []string{"a", "b"} {
		check(t, c.m.Remove(c.ctx, RemoveRequest{Name: name}))
	}
	if sets, err := c.m.List(c.ctx); err != nil || len(sets) > 0 {
		t.Errorf("%s: %+v, %v", when, sets, err)
	}
}
