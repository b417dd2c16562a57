package dm

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// series adds a chain of nightly sets to a host, the last of them made today.
func series(t *testing.T, c *chain, days int) *chain {
	t.Helper()
	for n := range days {
		name := fmt.Sprint("day", n)
		r := c.request(name)
		r.Labels = map[string]string{"series": "home"}
		c.create(t, r)
		c.taken(t, name)
		c.date(t, name, time.Now().AddDate(0, 0, n+1-days))
	}
	return c
}

// date has a set made at another time.
func (c *chain) date(t *testing.T, name string, at time.Time) {
	t.Helper()
	record, err := c.m.state.LoadSet(name)
	check(t, err)
	record.Created = at
	check(t, c.m.state.SaveSet(record))
}

func (c *chain) prune(t *testing.T, rules string, dry bool) ([]Pruned, error) {
	t.Helper()
	keep, err := ParseKeepRules(rules)
	check(t, err)
	return c.m.Prune(c.ctx, PruneRequest{Labels: map[string]string{"series": "home"}, Keep: keep, DryRun: dry})
}

// names are those of sets that exist, leftovers aside.
func (c *chain) names(t *testing.T) (names []string) {
	t.Helper()
	sets, err := c.m.List(c.ctx)
	check(t, err)
	for _, s := range sets {
		if !s.Layer {
			names = append(names, s.Name)
		}
	}
	return names
}

func TestPrune(t *testing.T) {
	c := series(t, newChain(t, ioctltest.Options{Udev: true}), 3)
	c.cut(t, "other")
	c.right(t, "before it")
	c.date(t, "other", time.Now().AddDate(-1, 0, 0))
	before := withoutLocks(c.Snapshot())
	planned, err := c.prune(t, "daily:1", true)
	check(t, err)
	same(t, "a dry run", before, withoutLocks(c.Snapshot()))
	done, err := c.prune(t, "daily:1", false)
	check(t, err)
	if want := []string{"day2", "other"}; !slices.Equal(c.names(t), want) {
		t.Errorf("left %q, want %q", c.names(t), want)
	}
	for i, p := range done {
		if p.Removed == p.Keep || p.Why == "" || planned[i].Keep != p.Keep || planned[i].Why != p.Why || planned[i].Removed || p.Set != fmt.Sprint("day", 2-i) {
			t.Errorf("%+v, planned %+v", p, planned[i])
		}
	}
	c.right(t, "after it")
}

// TestPruneSpares what somebody wants, until nobody does.
func TestPruneSpares(t *testing.T) {
	c := series(t, mountable(t), 5)
	_, err := c.m.Hold(c.ctx, "day0")
	check(t, err)
	_, err = c.m.Mount(c.ctx, "day1", "/mnt/n")
	check(t, err)
	record, err := c.m.state.LoadSet("day2")
	check(t, err)
	record.Lease, record.LeaseEnd = "2h", time.Hour*1000
	check(t, c.m.state.SaveSet(record))
	release := c.Kernel.Hold(c.devno(t, "day3"))
	done, err := c.prune(t, "last:1", false)
	if !errors.Is(err, ErrBusy) || done[1].Removed || len(c.names(t)) != 5 {
		t.Errorf("left %q, %v\n%+v", c.names(t), err, done)
	}
	release()
	done, err = c.prune(t, "last:1", false)
	check(t, err)
	for i, want := range []string{"last 1 of 1: " + done[0].Created.In(time.Local).Format("2006-01-02 15:04:05"), "last: older than the last 1", "its lease, 2h, decides", "it is mounted on /mnt/n", "it is on hold"} {
		if done[i].Why != want || done[i].Keep != (i != 1) {
			t.Errorf("%+v, want %s", done[i], want)
		}
	}
	if want := []string{"day0", "day1", "day2", "day4"}; !slices.Equal(c.names(t), want) {
		t.Errorf("left %q, want %q", c.names(t), want)
	}
}

// mountable is a host whose home is not written over.
func mountable(t *testing.T) *chain {
	t.Helper()
	c := &chain{host: newHost(t, ioctltest.Options{Udev: true}), past: map[string][]byte{}}
	for i := range stores {
		c.AddDisk(fmt.Sprint("cow", i), ioctl.DevNo{Major: 65, Minor: uint32(16 * i)}, 16*mib)
	}
	return c
}

func (c *chain) devno(t *testing.T, set string) DevNo {
	t.Helper()
	s, err := c.m.Show(c.ctx, set)
	check(t, err)
	return s.Volumes[0].Devno
}

// TestPruneHeldMeanwhile: a set that is held after it was looked at stays.
func TestPruneHeldMeanwhile(t *testing.T) {
	c := series(t, mountable(t), 2)
	s, err := c.m.open("prune", "")
	check(t, err)
	defer s.close()
	was, err := s.sets.show("day0")
	check(t, err)
	_, err = c.m.Hold(c.ctx, "day0")
	check(t, err)
	if err := (&pruning{session: s}).remove(c.ctx, *was); !errors.Is(err, errWanted) {
		t.Error(err)
	}
}

func TestPruneNothingSaid(t *testing.T) {
	c := series(t, mountable(t), 1)
	keep, err := ParseKeepRules("last:1")
	check(t, err)
	for _, r := range []PruneRequest{{Keep: keep}, {Labels: map[string]string{"a": "b"}}} {
		if _, err := c.m.Prune(c.ctx, r); !errors.Is(err, ErrUsage) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
