package dm

import (
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// watched is a volume as its monitor knows it. Sizes are in bytes.
type watched struct {
	image         ioctl.ID
	set, name     string
	state, told   State // current; the last one sent as an event
	origin, chunk uint64
	size, used    uint64 // of the store
	rate          float64
	at, due       time.Time // measured, and to be measured
	low, stuck    bool      // already sent as events
	readBy        []string  // sets that are lost with it
	settled       bool      // nothing is copied into the store any more
}

// How stores are measured and how far ahead they grow.
const (
	// burst is a rate at which chunks may be copied suddenly, in bytes a second.
	burst = 256 << 20
	// aheadSeconds is for how long a growth is to last at the rate seen last.
	aheadSeconds = 20
	fastest      = 50 * time.Millisecond
	// calm is how fast a rate is forgotten from one measurement to the next.
	calm = 0.8
)

// growable tells whether room helps: not if the image is lost or reads through a
// newer one, or if the store can take every chunk of the origin.
func (x *watched) growable() bool {
	return x.state == StateActive && !x.settled && x.chunk >= 512 && x.size+x.chunk <= x.most()
}

func (x *watched) most() uint64 {
	return plan.NeverFull(targets.Sectors(x.origin/512), targets.Sectors(x.chunk/512)).Bytes()
}

// measured notes how full the store is. A rate that rises counts at once, one
// that falls is forgotten slowly.
func (x *watched) measured(now time.Time, used, size uint64) {
	rate := 0.0
	if seconds := now.Sub(x.at).Seconds(); !x.at.IsZero() && seconds > 0 && used > x.used {
		rate = float64(used-x.used) / seconds
	}
	x.rate = max(rate, x.rate*calm)
	x.at, x.used, x.size = now, used, size
}

// pollInterval is how long a store may be left alone: at the rate seen last, or in a
// sudden burst, half of what is left until the threshold is still free then.
func (x *watched) pollInterval(threshold int, longest time.Duration) time.Duration {
	least := fastest
	low := x.size / 100 * uint64(threshold)
	if x.stuck { // there is nothing to do but to look again
		low, least = x.size, time.Second
	}
	left := float64(low - min(low, x.used))
	seconds := left / 2 / max(x.rate, burst)
	return min(max(least, time.Duration(seconds*float64(time.Second))), longest)
}

// wanted is the size a store is to grow to.
func (x *watched) wanted(r MonitorRequest) uint64 {
	step := r.Step.Of(x.origin)
	if r.Step.IsZero() {
		step = x.size / 2
	}
	ahead := uint64(x.rate * aheadSeconds)
	return min(x.size+max(step, ahead, x.chunk), x.most())
}
