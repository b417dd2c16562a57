package dm

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/hook"
	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
)

// recoverIntent ends an interrupted operation, if no process is at it or at any
// of its origins: its locks tell, and not the process that it names.
func (s *recovery) recoverIntent(ctx context.Context, i journal.Intent) (down bool, err error) {
	if i, err = s.reconstructIntent(i); err != nil {
		return false, err
	}
	boot, err := s.read.BootID()
	if err != nil {
		return false, err
	}
	held, err := s.state.Owner(i.Keys()...)
	if err != nil || held != nil {
		return false, err
	}
	now := i
	// Writers first, and before any file is written: the state directory itself
	// may lie on what is frozen. But only once no other operation can have its origins.
	locks, err := s.state.LockHostFirst(ownPID(), func() (err error) {
		if now, err = s.rereadIntent(i); err != nil || now.BootID != boot {
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
	defer s.unlock(locks)
	return s.finishIntent(ctx, now)
}

// errEnded: an operation has come to its end since its intent was read.
var errEnded = errors.New("it has ended")

// rereadIntent reads an intent again, with its locks held.
func (s *recovery) rereadIntent(i journal.Intent) (journal.Intent, error) {
	now, err := s.state.Again(i)
	if errors.Is(err, fs.ErrNotExist) {
		return now, errEnded
	}
	if err == nil {
		now, err = s.reconstructIntent(now)
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
	switch i.Op {
	case "extend":
		return false, s.recoverExtend(ctx, i)
	case "bookmark":
		return false, s.recoverBookmark(ctx, i)
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
		if held, err := s.state.IsAttached(i.Set, i.ID); err != nil || held {
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

// reconstructIntent makes an intent that cannot be read out of the tables and the set's
// record, if it has one. What has devices in the kernel is of this boot.
func (s *recovery) reconstructIntent(i journal.Intent) (journal.Intent, error) {
	if i.Unread == nil {
		return i, nil
	}
	s.log.Warn("a journal entry cannot be read; using the kernel's tables instead", "error", i.Unread)
	v, err := s.sets.scanDevices()
	if err != nil {
		return i, err
	}
	name := i.ID
	for _, set := range v.sets() {
		if set.UUID == i.ID {
			name = set.Name
		}
	}
	known, err := s.remains.Set(v.View, name, i.ID)
	if err != nil {
		return i, err
	}
	r, err := s.remains.Removal(v.View, name, i.ID)
	if err != nil {
		return i, err
	}
	i = inventory.Rebuild(i, known, r)
	i.BootID, err = s.read.BootID()
	return i, err
}
