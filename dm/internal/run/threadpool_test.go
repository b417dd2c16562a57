package run

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestCrew: all of a round run at the same time, on threads of their own; the
// processors that were lent go back.
func TestCrew(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	const width = 20
	c := newThreadPool(width)
	var done [width]atomic.Int32
	for round := range 5 {
		var all sync.WaitGroup
		first, end := round, width-round
		all.Add(end - first)
		c.all(first, end, func(i int) {
			all.Done()
			all.Wait()
			done[i].Add(1)
		})
	}
	c.all(3, 3, func(int) { t.Error("nothing was to be done") })
	c.close()
	for i := range done {
		if got, want := int(done[i].Load()), min(i+1, width-i, 5); got != want {
			t.Errorf("%d: %d times, not %d", i, got, want)
		}
	}
	if after := runtime.GOMAXPROCS(0); after != before {
		t.Errorf("%d processors, before %d", after, before)
	}
}

// TestCrewPanics: a panic is the caller's, after the others are done.
func TestCrewPanics(t *testing.T) {
	c := newThreadPool(3)
	defer c.close()
	for who := range 3 {
		others := atomic.Int32{}
		func() {
			defer func() {
				if p := recover(); p != "boom" || others.Load() != 2 {
					t.Errorf("panic of %d: %v after %d others", who, p, others.Load())
				}
			}()
			c.all(0, 3, func(i int) {
				if i == who {
					panic("boom")
				}
				others.Add(1)
			})
		}()
	}
}
