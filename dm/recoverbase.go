package dm

import (
	"context"
	"errors"
	"io/fs"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

// recoverBases takes down bases that no image stands on and no operation under way
// is about to use. What it was given to look at may be old.
func (s *recovery) recoverBases(ctx context.Context, ours *stack.View) error {
	for d := range ours.Devices() {
		alone, err := s.isUnused(ours, d)
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

// isUnused tells whether a device is a base on which nothing stands, and which no
// operation or attachment claims.
func (s *recovery) isUnused(ours *stack.View, d stack.Device) (bool, error) {
	known := inventory.Host{View: ours}
	if !known.Unused(d) {
		return false, nil
	}
	var err error
	if known.Intents, err = s.state.Intents(); err != nil || !known.Unused(d) {
		return false, err
	}
	held, err := s.state.IsAttached(d.Name, d.ID)
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
				alone, err = s.isUnused(ours, base)
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
			if base.Role == plan.RoleLower {
				return removalPlan(plan.RemoveRequest{Set: base.Name, ID: base.ID, Lower: []string{base.Name}}), nil
			}
			v := plan.RemoveVolume{}
			if err := s.remains.Front(&v, base, inventory.Set{View: ours}); err != nil {
				return nil, err
			}
			return removalPlan(plan.RemoveRequest{Set: base.Name, ID: base.ID, Volumes: []plan.RemoveVolume{v}}), nil
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

// forgetAttachment checks again under the lock, which an attach would have.
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
	defer s.unlock(locks)
	if d := ours.Named(base); d != nil && d.ID == record.ID {
		return nil
	}
	return s.state.Detach(base, record.ID)
}
