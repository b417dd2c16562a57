package run_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// usurper is a guard that takes over before the first call of the window, and clears
// slots until it has been stopped.
type usurper struct{ open, stopped atomic.Bool }

func (u *usurper) Prepare([]guard.Front, []int) error { return nil }
func (u *usurper) Open() error                        { u.open.Store(true); return nil }
func (u *usurper) Close() error                       { return nil }
func (u *usurper) Stop() error                        { u.stopped.Store(true); return nil }
func (u *usurper) Abandon() error                     { return nil }
func (u *usurper) Kind() string                       { return guard.Process }
func (u *usurper) Lost() bool                         { return u.open.Load() }
func (u *usurper) Freezing(int)                       {}
func (u *usurper) Froze(int, bool)                    {}

// TestTakenOver: what takes a window back loads nothing as long as the guard that took
// over may clear it again.
func TestTakenOver(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	p := g.plan(g.request("nightly", "home", "db"))
	before := g.Snapshot()
	u := &usurper{}
	var early, late atomic.Int32
	g.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_TABLE_LOAD" && u.open.Load() {
			if u.stopped.Load() {
				late.Add(1)
			} else {
				early.Add(1)
			}
		}
		return nil
	})
	r := g.runner()
	r.StartGuard = func() (run.Guard, error) { return u, nil }
	if _, err := r.Run(background, p); !errors.Is(err, run.ErrGuard) {
		t.Errorf("a window that was taken over: %v", err)
	}
	g.Fail(nil)
	if early.Load() > 0 || late.Load() == 0 {
		t.Errorf("%d tables loaded while the guard was at work, %d afterwards", early.Load(), late.Load())
	}
	g.same("taken over", before)
}
