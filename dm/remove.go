package dm

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// Remove takes a set down and gives its origins their own tables back. A set
// whose image is in use is refused with CodeBusy and stays whole. Past the point
// where the first image is gone nothing can be put back: a failure then has
// CodePartial, and the same call again goes on.
func (m *Manager) Remove(ctx context.Context, name string) (err error) {
	s, err := m.open("remove", name)
	if err != nil {
		return err
	}
	defer s.close()
	defer s.watching(ctx, "look at the set")()
	if err := s.remove(ctx, name); err != nil {
		return s.fail(err)
	}
	s.dropLayers(ctx)
	s.expireToo(ctx)
	return nil
}

// PlanRemove returns the steps Remove would take, and changes nothing.
func (m *Manager) PlanRemove(_ context.Context, name string) (p *Plan, err error) {
	s, err := m.open("remove", name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	p, err = s.planRemove(name)
	return p, s.fail(err)
}

func (s *session) planRemove(name string) (*Plan, error) {
	id, err := s.find(name)
	if err == nil {
		err = s.removable(name)
	}
	if err != nil {
		return nil, err
	}
	r, err := s.remains(name, id)
	if err != nil {
		return nil, err
	}
	return shown(plan.Remove(r)), nil
}

func (s *session) remove(ctx context.Context, name string) error {
	if err := s.state.Init(); err != nil {
		return err
	}
	done, err := s.recoverInterrupted(ctx)
	if err != nil {
		return err
	}
	id, err := s.find(name)
	if err != nil && slices.Contains(done.Sets, name) {
		return nil // that was its removal, interrupted before
	}
	if err == nil {
		err = s.removable(name)
	}
	if err != nil {
		return err
	}
	locks, err := s.lockSet(ctx, name, id)
	if err != nil {
		return err
	}
	defer s.release(locks)
	if s.opts.Wait > 0 { // whoever held the locks may have removed it
		if id, err = s.find(name); err != nil {
			return err
		}
	}
	return s.removeLocked(ctx, name, id)
}

func (s *session) removeLocked(ctx context.Context, name, id string) error {
	if err := s.endChains(id); err != nil {
		return err
	}
	if err := s.idle(ctx, id); err != nil {
		return err
	}
	return s.teardown(ctx, name, id, false, s.dropRecord(name))
}

// dropRecord is the last act of a removal. The intent outlives it: a record
// without devices would be a broken set for ever.
func (s *session) dropRecord(name string) func() error {
	return func() error { return s.state.DropSet(name) }
}

// find looks a set's id up, by record or by the names of its images.
func (s *session) find(name string) (string, error) {
	sets, err := s.list()
	if err != nil {
		return "", err
	}
	for _, set := range sets {
		if set.Name == name {
			return set.UUID, nil
		}
	}
	return "", plan.Refuse(plan.NotFound, "", "dmsnap list shows the sets there are", "there is no set %s", name)
}

func (s *session) release(l *journal.Locks) { s.tidy("locks", l.Release()) }

// lockSet locks a set's name and all its origins.
func (s *session) lockSet(ctx context.Context, name, id string) (*journal.Locks, error) {
	r, err := s.remains(name, id)
	if err != nil {
		return nil, err
	}
	return s.lock(ctx, append(originKeys(r), journal.SetKey(name))...)
}

// idle waits until nobody has an image open, for as long as udev may need, and
// names who does otherwise. It is the last moment at which nothing has changed.
func (s *session) idle(ctx context.Context, id string) error {
	end := time.Now().Add(s.opts.BusyTimeout)
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		held, err := s.heldImage(id)
		if err != nil || held == nil {
			return err
		}
		if time.Now().After(end) || len(held.Holders) > 0 && held.Holders[0].Kind != "process" {
			return &Error{Device: held.Device, Code: CodeBusy, Err: held, Hint: s.freeing(held)}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// freeing is how the user gets an image free.
func (s *session) freeing(held *BusyError) string {
	for _, h := range held.Holders {
		if h.Kind != "mount" || h.Namespace != "" {
			return "end what holds it, then try again"
		}
	}
	return "dmsnap umount " + s.set
}

func (s *session) heldImage(id string) (*BusyError, error) {
	ours, err := s.read.Look()
	if err != nil {
		return nil, err
	}
	for d := range ours.Devices() {
		if d.ID == id && d.Role == plan.RoleImage && d.Info.OpenCount > 0 {
			return s.busy("/dev/mapper/"+d.Name, d.Dev), nil
		}
	}
	return nil, nil
}

// teardown removes whatever there is of a set. It is what remove, recover and a
// create that could not write its record have in common: from any state the
// kernel may be in, it leads to none of the set's devices and the origins' own
// tables. When it has, it calls last, and then forgets its intent.
//
// If another intent leads recover here already it needs none of its own: taking
// down is what helps when the state directory is full.
func (s *session) teardown(ctx context.Context, name, id string, covered bool, last func() error) error {
	r, err := s.remains(name, id)
	if err != nil {
		return err
	}
	p := plan.Remove(r)
	runner := s.runner(&facts{}, CreateRequest{})
	affects(p, r)
	intent, err := s.tryBegin(p, runner)
	switch {
	case err != nil && !covered:
		return errors.Join(err, s.state.End(intent))
	case err != nil:
		s.log.Warn("taking it down without an entry in the journal of its own", "error", err)
	}
	if err := s.keepRecord(r); err != nil {
		return s.ended(intent, errors.Join(err, runner.Cookie.Discard()))
	}
	if _, err := runner.Run(ctx, p); err != nil {
		return s.ended(intent, err)
	}
	if err := last(); err != nil {
		return err
	}
	s.tidy("journal entry", s.state.End(intent)) // the next command ends it again
	return nil
}

// affects notes in a plan what its intent has to tell of.
func affects(p *plan.Plan, r plan.RemoveRequest) {
	for _, v := range r.Volumes {
		pv := plan.Volume{Front: v.Origin.Name, Origin: v.Origin}
		if v.Origin.Base != nil && v.Last {
			pv.Base = v.Origin.Base.Name
		}
		p.Volumes = append(p.Volumes, pv)
	}
}
