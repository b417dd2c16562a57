package pace

import (
	"testing"
	"time"
)

// TestInterval: the less room is left at the rate, the sooner the next measurement,
// between bounds.
func TestInterval(t *testing.T) {
	s := &Store{Origin: 100 << 30, Chunk: 64 << 10, Size: 10 << 30}
	start := time.Now()
	s.Add(start, 0, s.Size)
	idle := s.Interval(70, time.Hour)
	s.Add(start.Add(time.Second), 1<<30, s.Size)
	busy := s.Interval(70, time.Hour)
	s.Add(start.Add(2*time.Second), 6<<30, s.Size)
	late := s.Interval(70, time.Hour)
	if !(idle > busy && busy > late && late >= fastest && s.Interval(1, time.Hour) == fastest && s.Interval(70, time.Millisecond) == time.Millisecond) {
		t.Error(idle, busy, late)
	}
	if s.rate != 5<<30 {
		t.Error(s.rate)
	}
	if s.Stuck = true; s.Interval(1, time.Hour) < time.Second {
		t.Error("a store that cannot grow is measured more often than once a second")
	}
}

func TestWanted(t *testing.T) {
	s := &Store{Origin: 100 << 30, Chunk: 64 << 10, Size: 10 << 30, Used: 6 << 30, rate: 5 << 30}
	if got := s.Wanted(0); got != s.Needed() { // 100 GiB would be needed
		t.Error(got, s.Needed())
	}
	if s.rate = 0; s.Wanted(0) != 15<<30 || s.Wanted(1<<30) != 11<<30 {
		t.Error(s.Wanted(0), s.Wanted(1<<30))
	}
	if !s.HasUse() {
		t.Error("it cannot use more room")
	}
	if s.Size = s.Needed(); s.HasUse() || s.Wanted(1<<30) != s.Needed() {
		t.Error("it grows beyond what it can ever need")
	}
}
