package dm

import (
	"context"
	"errors"
	"sync"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
)

// Prepared is a set of which everything is there but the cut: its stores, its
// devices, its entry in the journal. No writer is held and no origin was touched;
// only the locks of its name and its origins are taken. It ends with Cut, with
// Abort or with the process, after which recover takes it back.
//
// Methods may be called from several goroutines; the first Cut or Abort counts,
// later ones fail with ErrNotFound.
type Prepared struct {
	mu sync.Mutex
	s  *session // nil once it has ended

	creation *creation
	locks    *journal.Locks
	done     done
}

// Prepare does what takes time in a Create, and everything that may fail for
// reasons of its own. Cut then takes little more than the window.
//
// A Prepare that fails, or whose ctx ends, has changed nothing, unless its code
// is CodeUnrecovered.
func (m *Manager) Prepare(ctx context.Context, r CreateRequest) (p *Prepared, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	s, err := m.open("create", r.Name)
	if err != nil {
		return nil, err
	}
	r.Name = nameOf(r)
	if p, err = s.prepare(ctx, r); err != nil {
		s.close()
		return nil, s.fail(err)
	}
	return p, nil
}

// prepare is perform as far as it comes without the cut.
func (s *session) prepare(ctx context.Context, r CreateRequest) (p *Prepared, err error) {
	p = &Prepared{s: s}
	if p.creation, err = s.newCreation(r); err != nil {
		return nil, err
	}
	o := p.creation.change()
	if _, err := s.before(ctx, o); err != nil {
		return nil, err
	}
	if p.locks, err = s.lockFor(ctx, o); err != nil {
		return nil, err
	}
	if err = p.plans(ctx, o); err == nil {
		err = p.begin(ctx, o)
	}
	if err != nil {
		s.unlock(p.locks)
		return nil, err
	}
	return p, nil
}

// plans looks up everything, also whether the filesystems can be frozen, and closes them
// again, so that no program finds one busy because of us.
func (p *Prepared) plans(ctx context.Context, o change) (err error) {
	p.done.plan, err = o.plan(ctx)
	o.cleanUp(err)
	return err
}

func (p *Prepared) begin(ctx context.Context, o change) (err error) {
	p.done.runner = o.runner()
	if p.done.intent, err = p.s.intents().begin(p.done.plan, p.done.runner, false); err != nil {
		return err
	}
	if err := o.intentWritten(&p.done); err != nil {
		return p.s.forgetIntent(p.done.intent, err)
	}
	if err := p.done.runner.Prepare(ctx, p.done.plan); err != nil {
		return p.s.forgetIntent(p.done.intent, err)
	}
	return nil
}

// Name is the set's name.
func (p *Prepared) Name() string { return p.creation.request.Name }

// ID is the uuid that the set will have.
func (p *Prepared) ID() string { return p.creation.id }

// end makes p unusable and returns its session.
func (p *Prepared) end(op string) (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.s
	if s == nil {
		return nil, &Error{Op: op, Set: p.creation.request.Name, Code: CodeNotFound, Err: errors.New("this preparation has already ended")}
	}
	p.s = nil
	s.op = op
	return s, nil
}

// Cut takes the set, as Create does. If an origin is not what it was when the cut
// was prepared (its table, its size, what is mounted), nothing is taken. Whatever
// fails, everything is taken back.
func (p *Prepared) Cut(ctx context.Context) (*Set, error) {
	s, err := p.end("create")
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer s.unlock(p.locks)
	set, err := p.cut(ctx, s)
	return set, s.fail(err)
}

func (p *Prepared) cut(ctx context.Context, s *session) (set *Set, err error) {
	defer func() { p.creation.closeFilesystems(err) }()
	if err := p.resume(s); err != nil {
		return nil, s.forgetIntent(p.done.intent, p.done.runner.Abort(ctx, err))
	}
	if p.done.trace, err = p.done.runner.Cut(ctx); err != nil {
		return nil, s.forgetIntent(p.done.intent, err)
	}
	err = s.finish(ctx, p.creation.change(), p.done)
	return p.creation.set, err
}

// resume finds everything as it was, opens the filesystems again, and notes the
// new semaphore in the journal: should we die, recover removes it.
func (p *Prepared) resume(s *session) (err error) {
	if err := p.checkUnchanged(s); err != nil {
		return err
	}
	if err := p.creation.facts.openFilesystems(s.kernel); err != nil {
		return err
	}
	p.done.runner.Freezers = p.creation.facts.freezers
	p.done.runner.Cookie, err = s.intents().write(&p.done.intent)
	return err
}

// checkUnchanged compares the origins and what is mounted on them with the facts of
// the plan.
func (p *Prepared) checkUnchanged(s *session) error {
	mounted, err := allMounts(s.kernel)
	if err != nil {
		return err
	}
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	for _, v := range p.done.plan.Volumes {
		o, err := s.read.Origin(v.Origin.Spec, v.Origin.Dev, ours)
		if err != nil {
			return err
		}
		if why := diffOrigin(v, o); why != "" {
			return plan.Refuse(plan.Busy, v.Origin.Path, "prepare it again", "%s has changed since the snapshot was prepared: %s", v.Origin.Path, why)
		}
	}
	if err := p.creation.uses().checkAbove(p.creation.facts, mounted); err != nil || p.creation.request.Consistency == Crash {
		return err
	}
	was := p.creation.facts.systems
	p.creation.facts.mounts = mounted
	now := mounted.Plan(p.creation.facts.devices()...)
	if !sameFilesystems(was, now) {
		return otherFilesystems()
	}
	for i := range now {
		now[i].Method, now[i].Trial, now[i].Reason = was[i].Method, was[i].Trial, was[i].Reason
	}
	p.creation.facts.systems = now
	return nil
}

// diffOrigin names what of an origin has changed since its plan.
func diffOrigin(v plan.Volume, o plan.Origin) string {
	switch {
	case o.Name != v.Origin.Name || o.UUID != v.Origin.UUID:
		return "it has another name"
	case o.Size != v.Origin.Size:
		return "its size has changed"
	case o.Suspended:
		return "it is suspended"
	case o.InactiveLoaded:
		return "another program is changing its table"
	case !o.Table.Equal(v.Origin.Table):
		return "its table has changed"
	}
	return ""
}

// Abort takes everything back.
func (p *Prepared) Abort(ctx context.Context) error {
	s, err := p.end("abort")
	if err != nil {
		return err
	}
	defer s.close()
	defer s.unlock(p.locks)
	err = p.done.runner.Abort(ctx, errAborted)
	if err = s.forgetIntent(p.done.intent, err); errors.Is(err, errAborted) && !isUndo(err) {
		err = nil
	}
	return s.fail(err)
}

var errAborted = errors.New("aborted")

func isUndo(err error) bool {
	_, stuck := errors.AsType[*run.UndoError](err)
	return stuck
}
