package dm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/nsexec"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// ExecRequest asks for a command that sees images in place of their origins, in a
// mount namespace of its own.
type ExecRequest struct {
	// Create is the set that is made for the command and removed after it. Its lease
	// is this process.
	Create CreateRequest
	// Set names an existing set instead, which stays. Create counts for nothing then.
	Set string
	// Command and its arguments, with placeholders: {time}, {unixtime}, {set}, {dir},
	// {dev}, and {dir:ORIGIN}, {dev:ORIGIN} with an entry of Create.Origins or a mount
	// point. Other braces stay as they are.
	Command []string
	// Env is its environment, to which DMSNAP_SET, DMSNAP_TIME, DMSNAP_UNIXTIME,
	// DMSNAP_DIR and DMSNAP_DEV are added. Nil: ours. Dir is its working directory;
	// empty: ours.
	Env []string
	Dir string
	// As mounts the images there, as Manager.Mount does, and leaves all other paths
	// alone. The directory must exist.
	As string
	// Block mounts nothing: the command gets devices.
	Block bool
	// Only leaves filesystems out that are mounted below the paths of the images and
	// are not in the set.
	Only bool
	// Writable are directories that the command sees live and may write to, beside
	// /tmp, /var/tmp, /run, /dev/shm and the caches of backup programs.
	Writable []string
	// AllowDegraded runs it even if the set is less consistent than asked for.
	AllowDegraded bool
	// OrLive runs it without a set where none is possible (CodeUnsupported).
	OrLive bool
	// KillAfter is how long it may take to end when it is told to. Zero: 30 s.
	KillAfter time.Duration
	// Signals are forwarded to its process group. Before it runs an interrupt, hangup,
	// quit or termination ends the call, as the end of its context does. The second
	// interrupt or termination starts the clock of KillAfter.
	Signals <-chan os.Signal
}

const defaultKillAfter = 30 * time.Second

// Execution is what became of a command.
type Execution struct {
	Command []string `json:"command"` // with placeholders filled in
	Ran     bool     `json:"ran"`
	// Status is the command's, 128 and its number if a signal ended it; 125, 126 or 127
	// if it did not run.
	Status int `json:"status"`
	// Good: it ended with 0, and what it saw was the set's instant to the end.
	Good bool `json:"good"`
	// Lost says which image was lost while it ran, and why; "" if none was.
	Lost string `json:"lost,omitempty"`
	// Live: there was no set, and it saw the live system.
	Live bool `json:"live"`
	Set  *Set `json:"set"` // as it was when the command had ended; null if there was none
	// Kept: the set still exists, as one that was there before, or since its removal
	// failed.
	Kept     bool     `json:"kept"`
	Laid     []string `json:"laid"`        // paths at which it saw an image
	Writable []string `json:"writable"`    // paths below them that were live
	Others   []string `json:"live_mounts"` // filesystems below them that are not in the set, and were live
	LeftOut  []string `json:"left_out"`    // those that it did not see
	// Renumbered are origins whose image did not get the device number that it has every
	// time, since that was taken.
	Renumbered []string `json:"renumbered"`
}

// SupervisorMain is the life of the process that is the parent of an executed
// command; it returns its exit status. A program that names itself in
// Options.Supervisor calls it first thing in main, with the one argument that
// follows those.
func SupervisorMain(args []string) int { return nsexec.Main(args) }

// supervisor is the process that runs a command.
type supervisor interface {
	Done() <-chan error
	Exit() nsexec.Exit
	Layout() nsexec.Layout
	Signal(sig syscall.Signal)
	End(sig syscall.Signal)
}

// Exec runs a command that sees the images of a new set in place of their origins,
// and removes the set. It blocks until the command and all that it started have
// ended. An error is ours, never the command's: its status is in the Execution,
// which is there in any case. If an image is lost meanwhile the command is ended,
// and the error has CodeNoSpace.
//
// When ctx ends, so does the command. When this process dies, the command and all
// that it started are killed; the set goes with the next operation that changes
// something.
func (m *Manager) Exec(ctx context.Context, r ExecRequest) (*Execution, error) {
	x := &execution{m: m, r: r, stopLooking: func() {}, result: Execution{
		Command: r.Command, Status: nsexec.StatusFailed, Laid: []string{}, Writable: []string{}, Others: []string{}, LeftOut: []string{}, Renumbered: []string{},
	}}
	err := x.run(ctx)
	x.result.Good = err == nil && x.result.Ran && x.result.Status == 0 && !x.result.Live
	return &x.result, err
}

// execution is one command.
type execution struct {
	m      *Manager
	r      ExecRequest
	set    *Set
	result Execution
	// stopLooking ends startLooking.
	stopLooking func()
}

func (x *execution) run(ctx context.Context) error {
	if err := x.check(); err != nil {
		return x.fail(err)
	}
	early, stop := x.untilSignal(ctx)
	err := x.takeSet(early)
	if told := stop(); err == nil && told != nil { // too late for Create to see it
		err = x.giveUp(ctx, told)
	}
	if err != nil {
		return err
	}
	defer func() { x.stopLooking() }() // the removal is an event, which wakes it
	err = x.supervise(ctx)
	if x.r.Set != "" || x.set == nil {
		x.result.Kept = x.set != nil
		return err
	}
	return errors.Join(err, x.remove(ctx))
}

// fail gives an error of ours its form.
func (x *execution) fail(err error) error {
	s := &session{Manager: x.m, op: "exec", set: x.r.Set, kernel: x.m.opts.Kernel}
	if x.set != nil {
		s.set = x.set.Name
	}
	return s.fail(err)
}

func (x *execution) check() error {
	r := x.r
	switch {
	case len(r.Command) == 0 || r.Command[0] == "":
		return plan.Refuse(plan.Usage, "", "write it after --", "no command was given")
	case r.As != "" && r.Block:
		return plan.Refuse(plan.Usage, "", "use one of them", "the images cannot be both mounted elsewhere and not mounted")
	case (r.As != "" || r.Block) && (r.Only || len(r.Writable) > 0):
		return plan.Refuse(plan.Usage, "", "leave them out", "what is left out or stays writable only matters where images are laid over their origins")
	case r.KillAfter < 0:
		return plan.Refuse(plan.Usage, "", "use a time above zero", "kill after %v is negative", r.KillAfter)
	}
	_, err := x.m.supervisorCommand()
	return err
}

// untilSignal is a context that a signal ends which would end the command.
// The stop tells whether one did, or ctx has ended.
func (x *execution) untilSignal(ctx context.Context) (early context.Context, stop func() error) {
	early, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case sig := <-x.r.Signals:
				if sig != unix.SIGUSR1 && sig != unix.SIGUSR2 {
					cancel()
				}
			case <-over:
				return
			}
		}
	}()
	return early, func() error {
		close(over)
		<-done // it may have a signal in its hands
		defer cancel()
		return early.Err()
	}
}

// giveUp takes back what takeSet made.
func (x *execution) giveUp(ctx context.Context, why error) error {
	err := x.fail(why)
	if x.r.Set == "" && x.set != nil {
		err = errors.Join(err, x.remove(ctx))
	}
	return err
}

// takeSet makes the set, or finds the one that was named.
func (x *execution) takeSet(ctx context.Context) (err error) {
	if x.r.Set != "" {
		if x.set, err = x.m.Show(ctx, x.r.Set); err != nil {
			return err
		}
		if why := whyLost(x.set); why != "" {
			return x.fail(&Error{Code: CodeNoSpace, Err: errors.New(why), Hint: "dmsnap why " + x.r.Set + " explains it"})
		}
		return nil
	}
	r := x.r.Create
	r.Lease, r.StableNumbers = Lease{PID: ownPID()}, true
	x.set, err = x.m.Create(ctx, r)
	switch {
	case x.set != nil:
		if err == nil && !x.r.AllowDegraded {
			err = lessConsistent(x.set)
		}
		if err != nil {
			return x.giveUp(ctx, err)
		}
	case x.r.OrLive && CodeOf(err) == CodeUnsupported:
		x.m.opts.Logger.Warn("no snapshot is possible: the command sees the live system", "error", err)
		x.result.Live = true
		return nil
	}
	return err
}

// lessConsistent is the error of a set that secured less than it was asked for.
func lessConsistent(set *Set) error {
	r := set.Receipt
	e := &Error{Code: CodeDegraded, Hint: "--allow-degraded runs it all the same"}
	for _, h := range r.Hooks {
		if h.Error != "" {
			e.Err = fmt.Errorf("a hook failed, so that applications may not have been quiesced: %s", h.Error)
			return e
		}
	}
	if short := r.NotAllowed(); r.BelowAsked() {
		e.Err = fmt.Errorf("the set is only crash-consistent: not every freeze could be verified (%s)", strings.Join(short, ", "))
		e.Hint += "; --allow-unproven " + strings.Join(short, " --allow-unproven ") + " accepts that"
		return e
	}
	return nil
}

// remove takes the set down, which nobody uses any more. Others may be at work on
// its origins for a moment.
func (x *execution) remove(ctx context.Context) error {
	patient := *x.m
	patient.opts.Wait = max(patient.opts.Wait, time.Minute)
	ctx = context.WithoutCancel(ctx)
	s, err := patient.open("remove", x.set.Name)
	if err != nil {
		x.result.Kept = true
		return err
	}
	defer s.close()
	defer s.warnOfStalls(ctx, "inspect the set")()
	err = (&removal{session: s, name: x.set.Name, id: x.set.UUID}).run(ctx, true)
	if isNoSet(err) { // somebody else was faster
		err = nil
	}
	x.result.Kept = err != nil
	if err != nil {
		return s.fail(err)
	}
	s.tidyLayers(ctx)
	return nil
}

// supervise has the command run, and looks after its images meanwhile.
func (x *execution) supervise(ctx context.Context) error {
	p, err := x.program()
	if err != nil {
		return x.fail(err)
	}
	x.result.Command = p.Command
	x.noteNumbers()
	command, err := x.m.supervisorCommand()
	if err != nil {
		return x.fail(err)
	}
	sup, err := x.m.startSupervisor(command, p)
	if err != nil {
		if e, ok := errors.AsType[*nsexec.StartError](err); ok {
			x.result.Status = e.Status
		}
		return x.fail(&Error{Code: CodeFailed, Err: fmt.Errorf("the command was not run: %w", err)})
	}
	x.result.Ran = true
	l := sup.Layout()
	x.result.Laid, x.result.Writable = append(x.result.Laid, l.Laid...), append(x.result.Writable, l.Writable...)
	x.result.Others, x.result.LeftOut = append(x.result.Others, l.Live...), append(x.result.LeftOut, l.LeftOut...)
	for _, other := range l.Live {
		x.m.opts.Logger.Info("this filesystem is not in the set: the command sees it live", "mount", other)
	}
	return x.await(ctx, sup)
}

// await returns when the command has ended.
func (x *execution) await(ctx context.Context, sup supervisor) error {
	gone := x.startLooking(ctx)
	why, asked, over := "", 0, ctx.Done()
	for {
		select {
		case why = <-gone:
			sup.End(unix.SIGTERM)
		case <-over:
			over = nil
			sup.End(unix.SIGTERM)
		case sig := <-x.r.Signals:
			number, _ := sig.(syscall.Signal)
			if number == unix.SIGINT || number == unix.SIGTERM {
				asked++
			}
			if asked > 1 {
				sup.End(number)
			} else {
				sup.Signal(number)
			}
		case err := <-sup.Done():
			if err != nil {
				x.result.Status = nsexec.StatusFailed
				return x.fail(&Error{Code: CodeFailed, Err: err, Hint: "what the command started may still run"})
			}
			x.result.Status = sup.Exit().Status
			return x.verdict(why)
		}
	}
}
