package dm

import (
	"cmp"
	"time"
)

// MonitorRequest says how stores are monitored. The zero value works.
type MonitorRequest struct {
	// Threshold is how full a store may be, in percent, before it grows. Zero: 70.
	Threshold int
	// Step is what a store gets at least; a share is one of the origin. Zero: half
	// of what it has. Under load it gets what the next 20 seconds will need.
	Step Size
	// Limit is the size that no store grows beyond; a share is one of the origin.
	// Zero: what it can ever need.
	Limit Size
	// Spill are unused devices, which are overwritten: a store whose own device is
	// used up continues on the first that is free.
	Spill []string
	// FlattenDepth is how many others an image may read through before what is left of
	// removed sets is flattened (RemoveRequest.Flatten), FlattenRate how fast is copied
	// for that. Zero: 16, and 16 MiB a second.
	FlattenDepth int
	FlattenRate  Rate
	// Interval is the longest time between two scans of all sets. Zero: 10 s.
	Interval time.Duration
	// Events gets each event, Look all sets after each scan. Both are called by the
	// goroutine of Monitor, which waits for them to return.
	Events func(Event)
	Look   func([]Set)
}

const (
	defaultThreshold = 70
	defaultInterval  = 10 * time.Second
	// pollSlice bounds how late a cancelled context is seen.
	pollSlice = 250 * time.Millisecond
)

func (r MonitorRequest) withDefaults() MonitorRequest {
	r.Threshold = cmp.Or(r.Threshold, defaultThreshold)
	r.Interval = cmp.Or(r.Interval, defaultInterval)
	r.FlattenDepth, r.FlattenRate = cmp.Or(r.FlattenDepth, defaultFlattenDepth), cmp.Or(r.FlattenRate, defaultFlattenRate)
	if r.Events == nil {
		r.Events = func(Event) {}
	}
	if r.Look == nil {
		r.Look = func([]Set) {}
	}
	return r
}

// When and how fast a monitor flattens chains.
const (
	defaultFlattenDepth = 16
	defaultFlattenRate  = 16 << 20 // bytes a second
)
