package dm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
)

// Expire removes the sets whose leases have ended and that are not on hold. It returns
// their names. One that is in use stays, with an error of CodeBusy; the others
// are removed all the same.
func (m *Manager) Expire(ctx context.Context) (removed []string, err error) {
	s, err := m.open("expire", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	removed, err = s.expire(ctx, "")
	return removed, s.fail(err)
}

func (s *session) expire(ctx context.Context, spare string) (removed []string, err error) {
	records, err := s.state.Sets()
	if err != nil {
		s.log.Warn("a record cannot be read; its lease is ignored", "error", err)
	}
	var errs []error
	for _, r := range records {
		over, err := s.sets.leases.hasEnded(r)
		if err != nil {
			errs = append(errs, err)
		}
		if !over || r.Held || r.Name == spare {
			continue
		}
		switch err := s.removeExpired(ctx, r); {
		case err == nil:
			s.log.Info("lease ended, set removed", "set", r.Name, "lease", r.Lease)
			removed = append(removed, r.Name)
		case !errors.Is(err, ErrNotFound) && !errors.Is(err, errWanted): // another process was faster
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// removeExpired removes the set of a record, unless it is wanted again by now.
func (s *session) removeExpired(ctx context.Context, was journal.Set) error {
	r, err := s.Manager.open("remove", was.Name)
	if err != nil {
		return err
	}
	defer r.close()
	end := &removal{session: r, name: was.Name, id: was.ID, still: func() error { return r.unwanted(was) }}
	err = end.run(ctx, false)
	r.tidyLayers(ctx)
	return r.fail(err)
}

// errWanted: the set was put on hold after its lease had ended, and stays.
var errWanted = errors.New("it is on hold")

// unwanted reads the record of a set again, with its locks held.
func (s *session) unwanted(was journal.Set) error {
	now, err := s.state.LoadSet(was.Name)
	if err != nil {
		return err
	}
	over, err := s.sets.leases.hasEnded(now)
	if err == nil && (!over || now.Held) {
		err = errWanted
	}
	return err
}

// Hold keeps a set although its lease ends, Release ends that. Both return the
// set.
func (m *Manager) Hold(ctx context.Context, name string) (*Set, error) {
	return m.setHold(ctx, "hold", name, true)
}

// Release lets the lease of a set count again. If it is over by now the set goes
// with the next command.
func (m *Manager) Release(ctx context.Context, name string) (*Set, error) {
	return m.setHold(ctx, "release", name, false)
}

func (m *Manager) setHold(ctx context.Context, op, name string, held bool) (set *Set, err error) {
	s, err := m.open(op, name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	_, err = withSetLock(ctx, s, name, func(set *Set) (struct{}, error) {
		r, err := s.state.LoadSet(name)
		if err == nil && r.ID != set.UUID {
			err = fs.ErrNotExist
		}
		if err != nil {
			return struct{}{}, fmt.Errorf("its record: %w", err)
		}
		r.Held = held
		return struct{}{}, s.state.SaveSet(r)
	})
	if err == nil {
		set, err = s.sets.show(name)
	}
	return set, s.fail(err)
}

// tryExpire has every command that changes something remove sets whose leases have
// ended. A failure is only logged: the command's own work does not depend on it.
func (s *session) tryExpire(ctx context.Context, spare string) {
	if _, err := s.expire(ctx, spare); err != nil {
		s.log.Warn("a set whose lease has ended could not be removed", "error", err)
	}
}
