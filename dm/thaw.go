package dm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/rescue"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

// Thawed is what Thaw did.
type Thawed struct {
	Resumed []string `json:"resumed"` // names of devices that were suspended
	Thawed  []string `json:"thawed"`  // mount points that were frozen
	Left    []Left   `json:"left"`    // what is or may be held, and was left alone
	// Invalidated are names of sets that Invalidate gave up.
	Invalidated []string `json:"invalidated,omitempty"`
	// Expedited is as in Recovered.
	Expedited string `json:"rcu_expedited,omitempty"`
}

// Left is something that Thaw did not touch.
type Left struct {
	Device string `json:"device"` // name of a device, or a mount point
	Reason string `json:"reason"`
}

// Thaw makes writers run again and does nothing else: suspended devices of ours
// and fronts are resumed with the table they have, then what we froze is thawed.
// It takes no lock, writes no file and needs no state directory; Recover, which
// does, takes down what is left. Until then a front that was resumed must not be
// renamed (kernel-notes.md): without the locks no table can be loaded into it.
//
// Whose a suspend or a freeze is, the journal tells. What belongs to an operation
// under way is left alone, with an error of CodeLocked, and so is what the
// journal does not know of. If the journal cannot be read within two seconds,
// fronts are resumed all the same and nothing is thawed. With all it ends every
// suspend of our devices and fronts, and every freeze above them, whichever program made
// it; an operation under way then fails. The result is not nil if there is
// anything to tell, also beside an error.
func (m *Manager) Thaw(ctx context.Context, all bool) (t *Thawed, err error) {
	s, err := m.open("thaw", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	r := thawing{session: s, all: all, done: Thawed{Resumed: []string{}, Thawed: []string{}, Left: []Left{}}}
	r.readJournal()
	ours, err := s.read.Look()
	if err != nil {
		return nil, s.fail(err)
	}
	return &r.done, s.fail(r.run(ctx, ours))
}

// journalTimeout is how long Thaw waits for the journal, which may lie on a
// suspended device and not be in memory.
const journalTimeout = 2 * time.Second

// thawing is one Thaw.
type thawing struct {
	*session
	all     bool
	journal []unfinished
	blind   bool // the journal could not be read, or not all of it
	locked  *journal.LockedError
	done    Thawed
}

// unfinished is an operation that has not ended.
type unfinished struct {
	journal.Intent
	owner *journal.LockedError // by a process that is at it; nil: interrupted
}

func (r *thawing) run(ctx context.Context, ours *stack.View) error {
	errs := []error{r.resumeOurs(ours)}
	running, stuck, err := r.resumeFronts(ours)
	errs = append(errs, err, r.thaw(ctx, ours, running, stuck))
	// Last: no writer waits for it, and it makes the thaws short.
	r.done.Expedited, err = guard.EndExpedite(r.kernel)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return &Error{Code: CodeUnrecovered, Err: err, Hint: "something may still be frozen or suspended; recovery.md explains how to find and fix it by hand"}
	}
	if r.locked != nil {
		return &Error{
			Code: CodeLocked, Err: r.locked,
			Hint: fmt.Sprintf("if it hangs, kill -9 %d: its guard then unblocks writers at once; dmsnap thaw --all interrupts it without waiting", r.locked.PID),
		}
	}
	return nil
}

// readJournal waits in a goroutine: reading from a suspended device does not
// return before it is resumed, which may be our task.
func (r *thawing) readJournal() {
	type result struct {
		list []unfinished
		err  error
	}
	got := make(chan result, 1)
	go func() {
		list, err := r.listUnfinished()
		got <- result{list, err}
	}()
	select {
	case res := <-got:
		r.journal, r.blind = res.list, res.err != nil
		if res.err != nil {
			r.log.Warn("the journal cannot be read", "error", res.err)
		}
	case <-time.After(journalTimeout):
		r.blind = true
		r.log.Warn("reading the journal timed out", "waited", journalTimeout)
	}
}

func (r *thawing) listUnfinished() (list []unfinished, err error) {
	boot, err := r.read.BootID()
	if err != nil {
		return nil, err
	}
	intents, err := r.state.Existing()
	for _, i := range intents {
		if i.Unread != nil {
			err = errors.Join(err, i.Unread)
			continue
		}
		if i.BootID != boot {
			continue
		}
		held, herr := r.state.Owner(i.Keys()...)
		err = errors.Join(err, herr)
		list = append(list, unfinished{i, held})
	}
	return list, err
}

// resumeOurs resumes what lies beneath fronts, and images. Nobody but us
// suspends these.
func (r *thawing) resumeOurs(ours *stack.View) error {
	var errs []error
	for d := range ours.Devices() {
		held, err := r.rescuer().Blocks(d)
		errs = append(errs, err)
		others := d.Role == plan.RoleFront || d.Role == plan.RoleAdopted // suspended by any program
		if others || !held || r.isBusy(d.Name, func(i journal.Intent) bool { return i.ID == d.ID || slices.Contains(i.Bases, d.Name) }) {
			continue
		}
		errs = append(errs, r.noteResumed(d.Name, r.rescuer().Resume(d.Info)))
	}
	return errors.Join(errs...)
}

// resumeFronts tells, by number, which fronts run now and which do not: a thaw
// above those would never return.
func (r *thawing) resumeFronts(ours *stack.View) (running, stuck []string, err error) {
	var errs []error
	for d := range ours.Devices() {
		if d.Role != plan.RoleBase {
			continue
		}
		fronts, err := r.read.Fronts(d)
		errs = append(errs, err)
		for _, f := range fronts {
			runs, err := r.resumeFront(f, d)
			errs = append(errs, err)
			if dev := rescue.OriginOf(d, f).String(); runs {
				running = append(running, dev)
			} else {
				stuck = append(stuck, dev)
			}
		}
	}
	return running, stuck, errors.Join(errs...)
}

// resumeFront resumes a front if it is suspended and that is ours to end.
func (r *thawing) resumeFront(f stack.Front, base stack.Device) (runs bool, err error) {
	name, dev := f.Info.Name, rescue.OriginOf(base, f).String()
	mine := func(i journal.Intent) bool {
		return slices.Contains(i.Bases, base.Name) || slices.Contains(i.Origins, dev)
	}
	known := slices.ContainsFunc(r.journal, func(u unfinished) bool { return mine(u.Intent) })
	switch {
	case !f.Info.Suspended:
		return true, nil
	case r.isBusy(name, mine):
		return false, nil
	case f.Foreign && !known:
		r.leave(name, "suspended by another program that is changing its table")
		return false, nil
	case !known && !f.Pending && !r.blind && !r.all:
		r.leave(name, "suspended, but not by an operation in the journal; --all resumes it")
		return false, nil
	}
	err = r.noteResumed(name, r.rescuer().ResumeFront(f, base))
	return err == nil, err
}

// isBusy leaves a device to the operation that is at it.
func (r *thawing) isBusy(name string, mine func(journal.Intent) bool) bool {
	if r.all {
		return false
	}
	for _, u := range r.journal {
		if u.owner != nil && mine(u.Intent) {
			r.locked = u.owner
			r.leave(name, u.owner.Error())
			return true
		}
	}
	return false
}

func (r *thawing) noteResumed(name string, err error) error {
	if err == nil {
		r.done.Resumed = append(r.done.Resumed, name)
	}
	return err
}

func (r *thawing) leave(name, reason string) {
	r.done.Left = append(r.done.Left, Left{Device: name, Reason: reason})
}

// thaw ends the freezes of interrupted operations, or all above our fronts.
func (r *thawing) thaw(ctx context.Context, ours *stack.View, running, stuck []string) error {
	var origins []string
	for _, u := range r.journal {
		if u.Freezes && u.owner == nil && rescue.WindowBegan(u.ID, ours) {
			origins = append(origins, u.Origins...)
		}
	}
	if r.all {
		origins = append(origins, running...)
	} else if r.blind {
		if err := r.nameSuspects(running); err != nil {
			return err
		}
	}
	origins = slices.DeleteFunc(origins, func(o string) bool { return slices.Contains(stuck, o) })
	thawed, err := r.rescuer().Thaw(ctx, slices.Compact(slices.Sorted(slices.Values(origins))))
	r.done.Thawed = append(r.done.Thawed, thawed...)
	return err
}

// nameSuspects names the filesystems that a lost journal may have been about.
func (r *thawing) nameSuspects(fronts []string) error {
	systems, err := r.rescuer().Filesystems(fronts)
	for _, f := range systems {
		r.leave(f.Mountpoint(), "possibly frozen by dmsnap, but the journal cannot be read; --all thaws it")
	}
	return err
}
