package dm

import (
	"cmp"
	"context"
	"errors"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/run"
)

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
	defer s.warnOfStalls(ctx, "inspect existing sets")()
	if err := end.recover(ctx); err != nil {
		return &end.done, s.fail(err)
	}
	s.tryExpire(ctx, "")
	return &end.done, nil
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
	now, err := s.sets.look()
	if err != nil {
		return err
	}
	if err := errors.Join(s.pinFiles(now), s.endPins(ctx, now.View)); err != nil {
		return err
	}
	if s.done.Left, err = s.remains.LeftFiles(now.View); err != nil {
		return err
	}
	s.done.Ended, err = endedReader{s.kernel, s.read, s.state, s.log}.volumes()
	return err
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
	_, held := errors.AsType[*lvmlock.BusyError](err)
	return held || errors.Is(err, run.ErrReloaded) || errors.Is(err, run.ErrSuspended)
}

// recoverInterrupted is what every operation does before its own work. An interrupted
// one that must wait for another program stops no other operation.
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
