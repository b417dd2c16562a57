package dm

import (
	"time"
)

// EventKind is what an Event reports.
type EventKind string

// The kinds of events. Options.Events gets steps, MonitorRequest.Events all others.
// A volume is low, full, invalid, bypassed or gone once, until it is not so any more.
const (
	EventStep      EventKind = "step"     // an operation is about to take a step
	EventLow       EventKind = "low"      // a store is filled to the threshold
	EventGrown     EventKind = "grown"    // a store has grown
	EventFull      EventKind = "full"     // a store overflowed, or has no room left to grow into
	EventInvalid   EventKind = "invalid"  // the kernel dropped an image
	EventBypassed  EventKind = "bypassed" // another program took our layer off an origin
	EventGone      EventKind = "gone"     // the device of an origin was removed from the machine
	EventFlattened EventKind = "folded"   // older sets got what they read of a removed one
	EventExpired   EventKind = "expired"  // a set was removed because its lease was over
	EventFailed    EventKind = "failed"   // a store should have grown, and an error came up
)

// Event is one thing that happens to a set or a volume.
type Event struct {
	Time      time.Time `json:"time"`
	Kind      EventKind `json:"event"`
	Set       string    `json:"set"`
	Volume    string    `json:"volume"`     // "" if it is about the set
	UsedBytes *uint64   `json:"used_bytes"` // of the store; null when the kernel does not say
	SizeBytes uint64    `json:"size_bytes"` // of the store; 0 if it is about the set
	Reason    string    `json:"reason,omitempty"`
	// ReadBy are the sets that read through this one: what is bad for it is for them.
	ReadBy []string `json:"read_by"`
	// Step is that of EventStep, nil of others.
	Step *Step `json:"step,omitempty"`
}

// Step is one step of an operation. Inside the window there are no events; one of
// PhaseWindow comes right before it.
type Step struct {
	Op     string `json:"op"` // "create", "remove", ...
	Phase  Phase  `json:"phase"`
	Name   string `json:"name"`   // as in a Plan and in Error.Step; empty for the window
	Device string `json:"device"` // what it works on: a device-mapper name or a mount point
	Done   int    `json:"done"`   // steps of the plan that are done
	Total  int    `json:"total"`  // steps of the plan
}

// setEvent is one about a whole set.
func setEvent(kind EventKind, set string) Event {
	return Event{Time: time.Now().UTC(), Kind: kind, Set: set, ReadBy: []string{}}
}
