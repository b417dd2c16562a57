package dm

import (
	"cmp"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
)

func (s *session) runner(f *facts, r CreateRequest) *run.Runner {
	timeout := r.FreezeTimeout
	if timeout == 0 {
		timeout = defaultFreezeTimeout
	}
	return &run.Runner{
		StartGuard: s.guard(f, timeout),
		Kernel:     s.kernel, Control: s.ctl, Create: s.life.create, Log: s.log, Fail: s.Manager.fail, Observe: s.observe(cmp.Or(r.Name, s.set)),
		Freezers: f.freezers, Deadline: timeout, BusyTimeout: s.opts.BusyTimeout, UdevTimeout: s.opts.UdevTimeout,
		Stalls: s.stalls,
	}
}

// usualRunner is for operations that freeze nothing.
func (s *session) usualRunner() *run.Runner { return s.runner(&facts{}, CreateRequest{}) }

// observe makes what tells Options.Events of each step of an operation on a set,
// nil if there is no such function.
func (s *session) observe(set string) func(plan.Phase, plan.Step, int, int) {
	if s.opts.Events == nil {
		return nil
	}
	return func(phase plan.Phase, step plan.Step, done, total int) {
		e := setEvent(EventStep, set)
		e.Step = &Step{Op: s.op, Phase: Phase(phase), Done: done, Total: total}
		if phase != plan.Window {
			e.Step.Name, e.Step.Device = step.String(), step.Device
			if step.Filesystem != nil {
				e.Step.Device = step.Filesystem.Mountpoints[0]
			}
		}
		s.opts.Events(e)
	}
}
