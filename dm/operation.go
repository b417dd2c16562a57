package dm

import (
	"context"
	"errors"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
)

// change is one operation that changes what there is. Whatever it is, perform
// carries it out in this order:
//
//	recover  what was interrupted before
//	expire   the sets whose leases are over
//	lock     all it needs or nothing, for as long as Options.Wait
//	look     at what exists, now that no other operation changes it
//	plan     on what look found, and on nothing that was seen before
//	begin    with the intent on disk
//	run      the steps
//	commit   the outcome, on disk
//	end      forget the intent, read the result, release the locks
type change struct {
	// keys are those of the locks it will need, as far as is known before they
	// are held. Nil: look tells.
	keys func() ([]string, error)
	// look finds out what there is and which locks that needs. If those are not all
	// held, what it found counts for nothing: it is called again with them.
	look func() ([]string, error)
	// plan may find that there is nothing to do: then it returns none.
	plan func(context.Context) (*plan.Plan, error)
	// runner is nil for one without filesystems.
	runner func() *run.Runner
	// intentWritten is called once the intent is on disk, before the first step.
	intentWritten func(*done) error
	// commit writes the outcome. If it fails the intent stays, unless it took
	// everything back.
	commit func(context.Context, done) error
	// cleanUp closes what plan opened.
	cleanUp func(error)
	// result reads back what the caller is to know, with the locks still held.
	result func() error

	// leases: sets whose leases are over go first, but for the one named spare,
	// which is what it is about. Growth does without: a store cannot wait until
	// a user closes an image.
	leases bool
	spare  string
	// covered: another intent leads recover here, so that it needs none of its own.
	covered bool
	// noWait fails at once if a lock is taken.
	noWait bool
}

// done is an operation of which all steps are.
type done struct {
	plan   *plan.Plan
	intent journal.Intent
	runner *run.Runner
	trace  run.Trace
}

// perform carries an operation out. The names are those of the sets that were ended
// before it.
func (s *session) perform(ctx context.Context, o change) (ended []string, err error) {
	if ended, err = s.before(ctx, o); err != nil {
		return nil, err
	}
	return ended, s.apply(ctx, o)
}

// before finishes interrupted operations and removes expired sets.
func (s *session) before(ctx context.Context, o change) (ended []string, err error) {
	ended, err = s.recoverInterrupted(ctx)
	if err == nil && o.leases {
		s.tryExpire(ctx, o.spare)
	}
	return ended, err
}

// apply is perform without what goes before.
func (s *session) apply(ctx context.Context, o change) error {
	locks, err := s.lockFor(ctx, o)
	if err != nil {
		return err
	}
	defer s.unlock(locks)
	return s.carryOut(ctx, o)
}

// lockRounds bounds how often an operation finds that it needs other locks than
// those it has taken.
const lockRounds = 5

// lockFor takes the locks of an operation and has it look under them.
func (s *session) lockFor(ctx context.Context, o change) (*journal.Locks, error) {
	first := o.keys
	if first == nil {
		first = o.look
	}
	keys, err := first()
	for range lockRounds {
		if err != nil {
			return nil, err
		}
		locks, err := s.lock(ctx, o.noWait, keys...)
		if err != nil {
			return nil, err
		}
		needed, err := o.look()
		if err == nil && locks.Have(needed...) {
			return locks, nil
		}
		s.unlock(locks)
		if err != nil {
			return nil, err
		}
		keys = needed
	}
	return nil, plan.Refuse(plan.Busy, "", "try again when it is done", "another program keeps changing the devices below")
}

// carryOut is what is done with the locks held.
func (s *session) carryOut(ctx context.Context, o change) (err error) {
	if o.cleanUp != nil {
		defer func() { o.cleanUp(err) }()
	}
	p, err := o.plan(ctx)
	if err != nil || p == nil {
		return err
	}
	d := done{plan: p}
	if o.runner != nil {
		d.runner = o.runner()
	} else {
		d.runner = s.usualRunner()
	}
	if d.intent, err = s.intents().begin(d.plan, d.runner, o.covered); err != nil {
		return err
	}
	if o.intentWritten != nil {
		if err := o.intentWritten(&d); err != nil {
			return s.forgetIntent(d.intent, errors.Join(err, d.runner.Cookie.Discard()))
		}
	}
	if d.trace, err = d.runner.Run(ctx, p); err != nil {
		return s.forgetIntent(d.intent, err)
	}
	return s.finish(ctx, o, d)
}

// finish is what follows when all steps are done.
func (s *session) finish(ctx context.Context, o change, d done) error {
	if err := o.commit(ctx, d); err != nil {
		return err
	}
	s.tidy("journal entry", s.state.End(d.intent)) // the next command ends it again
	if o.result != nil {
		return o.result()
	}
	return nil
}
