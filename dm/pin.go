package dm

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
)

// Unpinned is a filesystem that can be unmounted again after Unpin.
type Unpinned struct {
	File string `json:"file"` // of the store that is on it
}

// Unpin removes the pins of stores' files, so that their filesystems can be unmounted
// while their sets exist: for a shutdown, before filesystems are unmounted. It needs
// neither lock nor state directory. From then on no program may write to the devices
// except through the filesystems. Recover pins those again that are still mounted.
func (m *Manager) Unpin(ctx context.Context) ([]Unpinned, error) {
	s := &session{Manager: m, op: "unpin", kernel: m.opts.Kernel, log: m.opts.Logger}
	pins, err := store.Pins(s.kernel)
	done := []Unpinned{}
	for _, p := range pins {
		gone := p.Remove(ctx, s.kernel, m.opts.BusyTimeout)
		if gone == nil {
			done = append(done, Unpinned{File: p.File})
		}
		err = errors.Join(err, gone)
	}
	return done, s.fail(err)
}

// pinFiles holds filesystems again that stores' files lie on: after Unpin, or where
// an earlier dmsnap made them.
func (s *recovery) pinFiles(v *view) error {
	records, err := s.state.Sets()
	if err != nil {
		s.log.Warn("a record cannot be read", "error", err)
	}
	for _, r := range records {
		if !slices.ContainsFunc(v.set(r.ID, r).Volumes, lostItsPin) {
			continue
		}
		if err := s.pinSet(r.Name); err != nil {
			return err
		}
	}
	return nil
}

// endPins lets files go that have no name any more and whose sets nobody knows: a
// dmsnap that made no pins has removed them.
func (s *recovery) endPins(ctx context.Context, ours *stack.View) error {
	pins, err := store.Pins(s.kernel)
	if err != nil {
		return err
	}
	known, err := s.remains.Host(ours)
	if err != nil {
		return err
	}
	for _, p := range pins {
		if id, _, _ := strings.Cut(p.Owner, "."); !known.Knows(id) && strings.HasSuffix(p.File, " (deleted)") {
			err = errors.Join(err, p.Remove(ctx, s.kernel, s.opts.BusyTimeout))
		}
	}
	return err
}

// lostItsPin reports whether a store's file should be pinned and is not. Where a damaged
// file lies is unknown, so it is not pinned again.
func lostItsPin(v Volume) bool {
	return v.Store.Pinned != nil && !*v.Store.Pinned && v.State == StateActive
}

// pinSet looks again, under the lock. A set that is being worked on stays as it is.
func (s *recovery) pinSet(name string) error {
	locks, err := s.state.Lock(ownPID(), journal.SetKey(name))
	if _, held := errors.AsType[*journal.LockedError](err); held {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.unlock(locks)
	r, err := s.state.LoadSet(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	v, err := s.sets.look()
	if err != nil {
		return err
	}
	for _, vol := range v.set(r.ID, r).Volumes {
		if !lostItsPin(vol) {
			continue
		}
		for _, f := range r.Volumes[vol.number].Files() {
			owner := plan.OwnerOf(f.Path, r.ID, vol.number)
			if v.pins[owner] {
				continue
			}
			if err := store.MakeNamedPin(s.kernel, f.Path, owner); err != nil {
				return err
			}
		}
	}
	return nil
}
