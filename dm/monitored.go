package dm

import (
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// monitoredVolume is a volume as its monitor knows it. Sizes are in bytes.
type monitoredVolume struct {
	image           ioctl.ID
	set, name       string
	state, reported State // current; the last one sent as an event
	origin, chunk   uint64
	size, used      uint64 // of the store
	rate            float64
	at, due         time.Time // measured, and to be measured
	low, stuck      bool      // already sent as events
	readBy          []string  // sets that are lost with it
	stopped         bool      // nothing is copied into the store any more
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

// growable reports whether more room helps: not if the image is lost, reads through a
// newer one, or has a store with room for every chunk of the origin.
func (x *monitoredVolume) growable() bool {
	return x.state == StateActive && !x.stopped && x.chunk >= 512 && x.size+x.chunk <= x.neededSize()
}

func (x *monitoredVolume) neededSize() uint64 {
	return plan.NeverFull(targets.Sectors(x.origin/512), targets.Sectors(x.chunk/512)).Bytes()
}

// addMeasurement notes how full the store is. A rate that rises counts at once; one
// that falls, slowly.
func (x *monitoredVolume) addMeasurement(now time.Time, used, size uint64) {
	rate := 0.0
	if seconds := now.Sub(x.at).Seconds(); !x.at.IsZero() && seconds > 0 && used > x.used {
		rate = float64(used-x.used) / seconds
	}
	x.rate = max(rate, x.rate*calm)
	x.at, x.used, x.size = now, used, size
}

// pollInterval is the time until the next measurement: at the current rate or in a
// burst, half of the room below the threshold is still free then.
func (x *monitoredVolume) pollInterval(threshold int, longest time.Duration) time.Duration {
	least := fastest
	low := x.size / 100 * uint64(threshold)
	if x.stuck { // it cannot grow: only its end is of interest
		low, least = x.size, time.Second
	}
	left := float64(low - min(low, x.used))
	seconds := left / 2 / max(x.rate, burst)
	return min(max(least, time.Duration(seconds*float64(time.Second))), longest)
}

// wantedSize is the size a store is to grow to.
func (x *monitoredVolume) wantedSize(r MonitorRequest) uint64 {
	step := r.Step.Of(x.origin)
	if r.Step.IsZero() {
		step = x.size / 2
	}
	ahead := uint64(x.rate * aheadSeconds)
	return min(x.size+max(step, ahead, x.chunk), x.neededSize())
}
