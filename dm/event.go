package dm

import (
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// Event is one step of an operation that is about to be taken. Inside the window
// nothing is told; an event of phase "window" comes right before it.
type Event struct {
	Time   time.Time
	Op     string // "create", "remove", ...
	Set    string
	Phase  string // "prepare", "window", "finish", or "undo" when something failed
	Step   string // as in a Plan and in Error.Step; empty for "window"
	Device string // what the step works on: a device-mapper name or a mount point
	Done   int    // steps of the plan that are done
	Total  int    // steps of the plan
}

// observe makes what tells Options.Events of each step of an operation on a set,
// nil if nobody asks.
func (s *session) observe(set string) func(plan.Phase, plan.Step, int, int) {
	if s.opts.Events == nil {
		return nil
	}
	return func(phase plan.Phase, step plan.Step, done, total int) {
		e := Event{Time: time.Now().UTC(), Op: s.op, Set: set, Phase: string(phase), Done: done, Total: total}
		if phase != plan.Window {
			e.Step, e.Device = step.String(), step.Device
			if step.Filesystem != nil {
				e.Device = step.Filesystem.Mountpoints[0]
			}
		}
		s.opts.Events(e)
	}
}
