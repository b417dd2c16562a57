package dm

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/hook"
	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

// Recovered is what Recover did.
type Recovered struct {
	Sets []string `json:"sets"` // names of the sets it took down
	// Left are files of stores that no set known here has. They stay.
	Left []string `json:"left"`
	// Ended are volumes of persistent sets that a reboot ended. Their records and
	// stores stay until Remove.
	Ended []EndedVolume `json:"ended"`
	// Expedited is what it put /sys/kernel/rcu_expedited back to, which a window left
	// on whose processes were all killed; "" if there was nothing to put back.
	Expedited string `json:"rcu_expedited,omitempty"`
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
	end := recovery{session: s, done: Recovered{Sets: []string{}, Left: []string{}, Ended: []EndedVolume{}}}
	defer s.watching(ctx, "inspect existing sets")()
	if err := end.recover(ctx); err != nil {
		return &end.done, s.fail(err)
	}
	s.tryExpire(ctx, "")
	return &end.done, nil
}

// recovery ends what was interrupted.
type recovery struct {
	*session
	done Recovered
}

func (s *recovery) recover(ctx context.Context) error {
	if err := s.state.Init(); err != nil {
		return err
	}
	if err := s.recoverIntents(ctx); err != nil {
		return err
	}
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	if err := s.endAllChains(ctx, ours); err != nil {
		return err
	}
	if ours, err = s.dropLayers(ctx, ours); err != nil {
		return err
	}
	if err := s.recoverBases(ctx, ours); err != nil {
		return err
	}
	if err := s.forgetAttachments(ctx, ours); err != nil {
		return err
	}
	if s.done.Expedited, err = guard.EndExpedite(s.kernel); err != nil {
		return err
	}
	now, err := s.look()
	if err != nil {
		return err
	}
	if err := errors.Join(s.pinFiles(now), s.endPins(ctx, now.View)); err != nil {
		return err
	}
	if s.done.Left, err = s.leftFiles(now.View); err != nil {
		return err
	}
	s.done.Ended, err = s.endedVolumes()
	return err
}

// recoverIntent takes an interrupted operation down, if nobody is at it or at any
// of its origins: its locks tell, and not the process that it names.
func (s *recovery) recoverIntent(ctx context.Context, i journal.Intent) (down bool, err error) {
	if i, err = s.readable(i); err != nil {
		return false, err
	}
	boot, err := s.read.BootID()
	if err != nil {
		return false, err
	}
	held, err := s.state.Held(i.Keys()...)
	if err != nil || held != nil {
		return false, err
	}
	now := i
	// Writers first, and before any file is written: the state directory itself
	// may lie on what is frozen. But not before nobody can be at its origins.
	locks, err := s.state.LockHostFirst(ownPID(), func() (err error) {
		if now, err = s.stillThere(i); err != nil || now.BootID != boot {
			return err
		}
		return s.rescuer().EndWindow(ctx, now)
	}, i.Keys()...)
	if _, held := errors.AsType[*journal.LockedError](err); held || errors.Is(err, errEnded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer s.release(locks)
	return s.finishIntent(ctx, now)
}

// errEnded: an operation has come to its end since its intent was read.
var errEnded = errors.New("it has ended")

// stillThere reads an intent again, with its locks held.
func (s *recovery) stillThere(i journal.Intent) (journal.Intent, error) {
	now, err := s.state.Again(i)
	if errors.Is(err, fs.ErrNotExist) {
		return now, errEnded
	}
	if err == nil {
		now, err = s.readable(now)
	}
	had := i.Keys()
	if err == nil && slices.ContainsFunc(now.Keys(), func(k string) bool { return !slices.Contains(had, k) }) {
		err = errEnded // another one, which has other locks
	}
	return now, err
}

// finishIntent: a create whose record was written is complete but for its
// intent, an extend has grown a store or not; everything else comes down. The
// locks are held.
func (s *recovery) finishIntent(ctx context.Context, i journal.Intent) (down bool, err error) {
	if i.Op == "extend" {
		return false, s.recoverExtend(ctx, i)
	}
	if set, err := s.state.LoadSet(i.Set); err == nil && i.Op == "create" && set.ID == i.ID {
		s.endHooks(i, hook.PostThaw)
		ours, err := s.read.Look()
		if err == nil {
			_, err = s.endChains(ours, i.ID)
		}
		if err != nil {
			return false, err
		}
		return false, s.state.End(i)
	}
	s.endHooks(i, hook.Abort)
	if i.Op == "attach" {
		if held, err := s.state.HeldBase(i.Set, i.ID); err != nil || held {
			return false, errors.Join(err, s.state.End(i))
		}
	}
	last := func() error { return nil }
	switch i.Op {
	case "remove":
		last = func() error { return s.state.DropSet(i.Set, i.ID) }
	case "detach":
		last = func() error { return s.state.Detach(i.Set, i.ID) }
	}
	if err := s.teardown(ctx, i.Set, i.ID, true, last); err != nil {
		return false, err
	}
	return true, s.state.End(i)
}

// readable makes an intent that cannot be read out of the tables and the set's
// record, if it has one. What has devices in the kernel is of this boot.
func (s *recovery) readable(i journal.Intent) (journal.Intent, error) {
	if i.Unread == nil {
		return i, nil
	}
	s.log.Warn("a journal entry cannot be read; using the kernel's tables instead", "error", i.Unread)
	v, err := s.scanDevices()
	if err != nil {
		return i, err
	}
	name := i.ID
	for _, set := range v.sets() {
		if set.UUID == i.ID {
			name = set.Name
		}
	}
	known, err := s.inventory(v.View, name, i.ID)
	if err != nil {
		return i, err
	}
	r, err := s.remains(v.View, name, i.ID)
	if err != nil {
		return i, err
	}
	i = inventory.Rebuild(i, known, r)
	i.BootID, err = s.read.BootID()
	return i, err
}

// recoverIntents ends all interrupted operations, but for those at whose fronts another
// program is just then: what it loaded there is not ours to replace.
func (s *recovery) recoverIntents(ctx context.Context) error {
	intents, err := s.state.Intents()
	if err != nil {
		return err
	}
	unread, changing := false, error(nil)
	for _, i := range intents {
		done, err := s.recoverIntent(ctx, i)
		if beingChanged(err) {
			changing = errors.Join(changing, err)
			continue
		}
		if err != nil {
			return err
		}
		if done {
			s.done.Sets = append(s.done.Sets, cmp.Or(i.Set, i.ID))
		}
		unread = unread || i.Unread != nil
	}
	if unread { // a base of such an operation is known by standing alone only
		ours, err := s.read.Look()
		if err != nil {
			return err
		}
		return errors.Join(changing, s.recoverBases(ctx, ours))
	}
	return changing
}

func beingChanged(err error) bool {
	_, held := errors.AsType[*lvmlock.HeldError](err)
	return held || errors.Is(err, run.ErrReloaded) || errors.Is(err, run.ErrSuspended)
}

// recoverInterrupted is what every operation does before its own work. An interrupted
// one that must wait for another program keeps nobody else from working.
func (s *session) recoverInterrupted(ctx context.Context) (sets []string, err error) {
	if err := s.state.Init(); err != nil {
		return nil, err
	}
	end := recovery{session: s}
	if err = end.recoverIntents(ctx); beingChanged(err) {
		s.log.Warn("an interrupted operation is not cleaned up yet: another program is changing its origin", "error", err)
		err = nil
	}
	return end.done.Sets, err
}

// recoverBases takes down bases that no image stands on and no operation under way
// is about to use. What it was given to look at may be old.
func (s *recovery) recoverBases(ctx context.Context, ours *stack.View) error {
	for d := range ours.Devices() {
		alone, err := s.alone(ours, d)
		if err != nil {
			return err
		}
		if !alone {
			continue
		}
		err = s.apply(ctx, s.baseRemoval(d))
		if _, held := errors.AsType[*journal.LockedError](err); held || errors.Is(err, errInUse) {
			continue // somebody is at its origin, whom this journal does not tell of, or was
		}
		if err != nil {
			return err
		}
		s.done.Sets = append(s.done.Sets, d.Name)
	}
	return nil
}

// alone tells whether a device is a base on which nothing stands, and which no
// operation or attachment claims.
func (s *recovery) alone(ours *stack.View, d stack.Device) (bool, error) {
	known := inventory.Host{View: ours}
	if !known.Unused(d) {
		return false, nil
	}
	var err error
	if known.Intents, err = s.state.Intents(); err != nil || !known.Unused(d) {
		return false, err
	}
	held, err := s.state.HeldBase(d.Name, d.ID)
	return !held, err
}

// errInUse: a base that stood alone was taken into use before it was locked.
var errInUse = errors.New("in use")

// baseRemoval takes a base down that stood alone when it was seen without locks. A
// create may have taken it into use before its origin was locked: so it must be the
// same base still, and alone, by devices and journal as they are read under the lock.
func (s *recovery) baseRemoval(base stack.Device) change {
	var ours *stack.View
	var fronts []stack.Front
	return change{
		look: func() (keys []string, err error) {
			alone := false
			if ours, err = s.read.Look(); err != nil {
				return nil, err
			}
			if d := ours.Named(base.Name); d != nil && d.UUID == base.UUID {
				base = *d
				alone, err = s.alone(ours, base)
			}
			if err == nil && !alone {
				err = errInUse
			}
			if err != nil {
				return nil, err
			}
			if fronts, err = s.read.Fronts(base); err != nil {
				return nil, err
			}
			origins, err := s.read.OriginsOf(base)
			keys = []string{journal.IDKey(base.ID)}
			for _, d := range origins {
				keys = append(keys, journal.OriginKey(d.String()))
			}
			return keys, err
		},
		plan: func(context.Context) (*plan.Plan, error) {
			for _, f := range fronts {
				if err := s.rescuer().ResumeFront(f, base); err != nil {
					return nil, err
				}
			}
			v := plan.RemoveVolume{}
			if err := s.remainsFront(&v, base, inventory.Set{View: ours}); err != nil {
				return nil, err
			}
			return takingDown(plan.RemoveRequest{Set: base.Name, ID: base.ID, Volumes: []plan.RemoveVolume{v}}), nil
		},
		commit:  func(context.Context, done) error { return nil },
		covered: true, // it stands alone, which leads recover here again
		noWait:  true,
	}
}

// forgetAttachments drops the records of layers that are gone: they do not
// outlive a reboot. What it was given to look at may be old.
func (s *recovery) forgetAttachments(ctx context.Context, ours *stack.View) error {
	names, err := s.state.Attachments()
	if err != nil {
		return err
	}
	for _, name := range names {
		if ours.Named(name) == nil {
			err = errors.Join(err, s.forgetAttachment(ctx, name))
		}
	}
	return err
}

// forgetAttachment looks again under the lock of who might attach it just now.
func (s *recovery) forgetAttachment(ctx context.Context, base string) error {
	record, err := s.state.Attached(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil { // it says nothing, and the base is gone
		s.log.Warn("the record of an attachment cannot be read", "error", err)
		s.tidy("record of an attachment", s.state.Detach(base, ""))
		return nil
	}
	var ours *stack.View
	locks, err := s.lockFor(ctx, change{noWait: true, look: func() (keys []string, err error) {
		ours, err = s.read.Look()
		return []string{journal.IDKey(record.ID)}, err
	}})
	if _, held := errors.AsType[*journal.LockedError](err); held {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.release(locks)
	if d := ours.Named(base); d != nil && d.ID == record.ID {
		return nil
	}
	return s.state.Detach(base, record.ID)
}
