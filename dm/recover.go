package dm

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
)

// Recovered is what Recover did.
type Recovered struct {
	Sets []string `json:"sets"` // names of the sets it took down
	// Left are files of stores that no set known here has. They stay.
	Left []string `json:"left"`
	// Ended are volumes of persistent sets that a reboot ended. Their records and
	// stores stay until Remove.
	Ended []EndedVolume `json:"ended"`
}

// Recover ends what was interrupted: a create that did not reach its end is
// taken back, a remove is completed, and devices of ours that belong to no
// operation and no record are taken down. Operations that are under way are left
// alone.
func (m *Manager) Recover(ctx context.Context) (r *Recovered, err error) {
	s, err := m.open("recover", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	r = &Recovered{Sets: []string{}, Left: []string{}, Ended: []EndedVolume{}}
	defer s.watching(ctx, "look at what is there")()
	if err := s.recover(ctx, r); err != nil {
		return r, s.fail(err)
	}
	s.expireToo(ctx)
	return r, nil
}

func (s *session) recover(ctx context.Context, r *Recovered) error {
	if err := s.state.Init(); err != nil {
		return err
	}
	if err := s.recoverIntents(ctx, r); err != nil {
		return err
	}
	if err := s.endAllChains(ctx); err != nil {
		return err
	}
	s.dropLayers(ctx)
	if err := s.recoverBases(ctx, r); err != nil {
		return err
	}
	if err := s.forgetAttachments(); err != nil {
		return err
	}
	var err error
	if r.Left, err = s.leftFiles(); err != nil {
		return err
	}
	r.Ended, err = s.endedVolumes()
	return err
}

// recoverIntent takes an interrupted operation down, if nobody is at it.
func (s *session) recoverIntent(ctx context.Context, i journal.Intent) (down bool, err error) {
	if i.Unread != nil {
		s.log.Warn("an entry of the journal cannot be read; the kernel's tables are used instead", "error", i.Unread)
		if i, err = s.reconstruct(i); err != nil {
			return false, err
		}
	}
	boot, err := s.bootID()
	if err != nil {
		return false, err
	}
	// Writers first, and before any file is written: the state directory itself
	// may lie on what is frozen.
	if i.BootID == boot && !s.kernel.Alive(i.PID) {
		if err := s.letGo(ctx, i); err != nil {
			return false, err
		}
	}
	locks, err := s.state.Lock(ownPID(), i.Keys()...)
	if _, held := errors.AsType[*journal.LockedError](err); held {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer s.release(locks)
	if i.BootID == boot {
		if err := s.letGo(ctx, i); err != nil {
			return false, err
		}
	}
	return s.finishIntent(ctx, i)
}

// finishIntent: a create whose record was written is complete but for its
// intent, an extend has grown a store or not; everything else comes down. The
// locks are held.
func (s *session) finishIntent(ctx context.Context, i journal.Intent) (down bool, err error) {
	if i.Op == "extend" {
		return false, s.endExtend(ctx, i)
	}
	if set, err := s.state.LoadSet(i.Set); err == nil && i.Op == "create" && set.ID == i.ID {
		s.endHooks(i, freeze.HookPostThaw)
		if err := s.endChains(i.ID); err != nil {
			return false, err
		}
		return false, s.state.End(i)
	}
	s.endHooks(i, freeze.HookAbort)
	if i.Op == "attach" {
		if held, err := s.state.HeldBase(i.Set, i.ID); err != nil || held {
			return false, errors.Join(err, s.state.End(i))
		}
	}
	last := func() error { return nil }
	switch i.Op {
	case "remove":
		last = s.dropRecord(i.Set)
	case "detach":
		last = s.dropAttachment(i.Set)
	}
	if err := s.teardown(ctx, i.Set, i.ID, true, last); err != nil {
		return false, err
	}
	return true, s.state.End(i)
}

// reconstruct makes an intent that cannot be read out of the tables and the set's
// record, if it has one. Only a create freezes, and what has devices in the kernel
// is of this boot.
func (s *session) reconstruct(i journal.Intent) (journal.Intent, error) {
	sets, err := s.list()
	if err != nil {
		return i, err
	}
	i.Set = i.ID
	for _, set := range sets {
		if set.UUID == i.ID {
			i.Set = set.Name
		}
	}
	r, err := s.remains(i.Set, i.ID)
	if err != nil {
		return i, err
	}
	if set, err := s.state.LoadSet(i.Set); err == nil && set.ID == i.ID {
		for _, v := range set.Volumes {
			i.Bases = append(i.Bases, plan.BaseName(v.Name))
		}
	}
	for _, v := range r.Volumes {
		if v.Origin.Base != nil {
			i.Bases = append(i.Bases, v.Origin.Base.Name)
		}
		if v.Origin.Known() {
			i.Origins = append(i.Origins, v.Origin.Dev.String())
		}
	}
	i.Freezes = i.Op == "create"
	i.BootID, err = s.bootID()
	return i, err
}

// recoverIntents ends all interrupted operations.
func (s *session) recoverIntents(ctx context.Context, r *Recovered) error {
	intents, err := s.state.Intents()
	if err != nil {
		return err
	}
	unread := false
	for _, i := range intents {
		done, err := s.recoverIntent(ctx, i)
		if err != nil {
			return err
		}
		if done {
			r.Sets = append(r.Sets, cmp.Or(i.Set, i.ID))
		}
		unread = unread || i.Unread != nil
	}
	if unread { // a base of such an operation is known by standing alone only
		return s.recoverBases(ctx, r)
	}
	return nil
}

// recoverInterrupted is what every operation does before its own work.
func (s *session) recoverInterrupted(ctx context.Context) (r Recovered, err error) {
	if err := s.state.Init(); err != nil {
		return r, err
	}
	return r, s.recoverIntents(ctx, &r)
}

// recoverBases takes down bases that no image stands on and no operation under
// way is about to use.
func (s *session) recoverBases(ctx context.Context, r *Recovered) error {
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	intents, err := s.state.Intents()
	if err != nil {
		return err
	}
	for d := range ours.Devices() {
		underWay := slices.ContainsFunc(intents, func(i journal.Intent) bool { return slices.Contains(i.Bases, d.Name) })
		if d.Role != plan.RoleBase || underWay || len(ours.PlanBase(d).Images) > 0 || ours.CarriesStore(d.Dev) {
			continue
		}
		held, err := s.state.HeldBase(d.Name, d.ID)
		if err != nil {
			return err
		}
		if held {
			continue
		}
		down, err := s.recoverBase(ctx, d, ours)
		if err != nil {
			return err
		}
		if down {
			r.Sets = append(r.Sets, d.Name)
		}
	}
	return nil
}

// forgetAttachments drops the records of layers that are gone: they do not
// outlive a reboot.
func (s *session) forgetAttachments() error {
	names, err := s.state.Attachments()
	if err != nil {
		return err
	}
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	for _, name := range names {
		if ours.Named(name) == nil {
			err = errors.Join(err, s.state.Detach(name))
		}
	}
	return err
}

// recoverBase takes one down, unless somebody is at its origin: an operation that
// the journal does not tell of.
func (s *session) recoverBase(ctx context.Context, base stack.Device, ours *stack.View) (down bool, err error) {
	origins, err := s.read.OriginsOf(base)
	if err != nil {
		return false, err
	}
	var keys []string
	for _, d := range origins {
		keys = append(keys, journal.OriginKey(d.String()))
	}
	locks, err := s.state.Lock(ownPID(), keys...)
	if _, held := errors.AsType[*journal.LockedError](err); held {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer s.release(locks)
	fronts, err := s.read.Fronts(base)
	if err != nil {
		return false, err
	}
	for _, f := range fronts {
		if err := s.runFront(f, base); err != nil {
			return false, err
		}
	}
	v := plan.RemoveVolume{}
	if err := s.remainsFront(&v, base, "", ours); err != nil {
		return false, err
	}
	p := plan.Remove(plan.RemoveRequest{Volumes: []plan.RemoveVolume{v}})
	_, err = s.runner(&facts{}, CreateRequest{}).Run(ctx, p)
	return err == nil, err
}
