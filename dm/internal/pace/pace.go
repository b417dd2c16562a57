// Package pace decides how often the monitor measures the store of a snapshot, and how far
// it grows. It is pure: dm/monitored.go measures, waits and extends.
//
// Add notes a measurement of a [Store], of which the rate of copying follows. Interval is
// the time until the next one, short enough that even a burst does not fill the store in
// between. HasUse tells whether more room would be of use, Wanted how much there is to be:
// a step, or what lasts some seconds at the present rate if that is more. Needed bounds
// it: with a chunk for each of the origin's, a store is never full.
package pace

import (
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// Store is how full a store is, in bytes, and how fast it fills.
type Store struct {
	Origin, Chunk uint64
	Size, Used    uint64
	// Stuck: it cannot grow, so that only its end is of interest.
	Stuck bool

	rate float64
	at   time.Time // of the last measurement
}

// How stores are measured and how far ahead they grow.
const (
	// burst is a rate at which chunks may be copied suddenly, in bytes a second.
	burst = 256 << 20
	// aheadSeconds is how long the room that a store gets lasts at its current rate.
	aheadSeconds = 20
	fastest      = 50 * time.Millisecond
	// calm is what remains of a higher rate at the next measurement.
	calm = 0.8
)

// HasUse reports whether the store could use more room: it could not if it has room for
// every chunk of the origin.
func (s *Store) HasUse() bool { return s.Chunk >= targets.SectorSize && s.Size+s.Chunk <= s.Needed() }

// Needed is the size with which it can never be full.
func (s *Store) Needed() uint64 {
	return plan.NeverFull(targets.Sectors(s.Origin/targets.SectorSize), targets.Sectors(s.Chunk/targets.SectorSize)).Bytes()
}

// Add notes a measurement. A rate that rises counts at once; one that falls, slowly.
func (s *Store) Add(now time.Time, used, size uint64) {
	rate := 0.0
	if seconds := now.Sub(s.at).Seconds(); !s.at.IsZero() && seconds > 0 && used > s.Used {
		rate = float64(used-s.Used) / seconds
	}
	s.rate = max(rate, s.rate*calm)
	s.at, s.Used, s.Size = now, used, size
}

// Interval is the time until the next measurement: at the current rate or in a burst,
// half of the room below the threshold, in percent, is still free then.
func (s *Store) Interval(threshold int, longest time.Duration) time.Duration {
	least := fastest
	low := s.Size / 100 * uint64(threshold)
	if s.Stuck {
		low, least = s.Size, time.Second
	}
	left := float64(low - min(low, s.Used))
	seconds := left / 2 / max(s.rate, burst)
	return min(max(least, time.Duration(seconds*float64(time.Second))), longest)
}

// Wanted is the size that it is to grow to: by the step, zero for half of what it has, and
// by what it will need soon.
func (s *Store) Wanted(step uint64) uint64 {
	if step == 0 {
		step = s.Size / 2
	}
	ahead := uint64(s.rate * aheadSeconds)
	return min(s.Size+max(step, ahead, s.Chunk), s.Needed())
}
