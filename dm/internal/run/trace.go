package run

import (
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// Trace is what the window did, by the monotonic clock.
type Trace struct {
	Start, End time.Time // first call to last, undo included
	Skew       time.Duration
	Steps      []TracedStep
	Proven     []int  // keys of filesystems proven frozen
	Guard      string // its kind, empty without one
}

// TracedStep is the time of one call. Calls may have run at the same time.
type TracedStep struct {
	Step plan.Step
	At   time.Duration // since the start of the window
	Took time.Duration
}

func (w *window) trace(end time.Time) Trace {
	t := Trace{Start: w.start, End: end, Steps: make([]TracedStep, 0, len(w.calls))}
	if w.guard != nil {
		t.Guard = w.guard.Kind()
	}
	var first, last time.Time
	for _, c := range w.calls {
		if c.start.IsZero() {
			break
		}
		t.Steps = append(t.Steps, TracedStep{Step: c.step, At: c.start.Sub(w.start), Took: c.end.Sub(c.start)})
		switch {
		case c.step.Action == plan.Prove && c.done:
			t.Proven = append(t.Proven, c.step.Filesystem.Key)
		case c.step.Action == plan.Suspend && c.step.Role == plan.RoleFront && c.done:
			if first.IsZero() || c.end.Before(first) {
				first = c.end
			}
			if c.end.After(last) {
				last = c.end
			}
		}
	}
	t.Skew = last.Sub(first)
	return t
}
