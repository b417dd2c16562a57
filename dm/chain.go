package dm

import (
	"context"
	"errors"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
)

// tidyLayers is what removals do beside their own work.
func (s *session) tidyLayers(ctx context.Context) {
	ours, err := s.read.Look()
	if err == nil {
		_, err = s.dropLayers(ctx, ours)
	}
	if err != nil {
		s.log.Warn("leftovers of removed sets stay for now", "error", err)
	}
}

// dropLayers removes leftovers of removed sets that no snapshot reads through any
// more, one after the other: removing one may free those below it. A failure is
// logged, and the next removal tries again. It returns a new view.
func (s *session) dropLayers(ctx context.Context, ours *stack.View) (*stack.View, error) {
	for {
		records, err := s.state.Sets()
		if err != nil {
			s.log.Warn("a record cannot be read", "error", err)
		}
		ids := inventory.Host{View: ours, Records: records}.Layers()
		i := slices.IndexFunc(ids, func(id string) bool { return !inventory.HasReaders(ours, id) })
		if i < 0 {
			return ours, nil
		}
		if err := s.apply(ctx, s.layerRemoval(ids[i])); err != nil {
			s.log.Warn("the leftover of a removed set stays for now", "error", err)
			return ours, nil
		}
		if ours, err = s.read.Look(); err != nil {
			return nil, err
		}
	}
}

// layerRemoval removes a layer, unless a snapshot reads
// through it by now.
func (s *session) layerRemoval(id string) change {
	r := &removal{session: s, name: plan.LayerName(id), id: id}
	return change{
		look: func() (keys []string, err error) {
			if r.ours, err = s.read.Look(); err != nil {
				return nil, err
			}
			r.rest, err = s.remains.Removal(r.ours, r.name, id)
			return setKeys(r.rest), err
		},
		plan: func(context.Context) (*plan.Plan, error) {
			if inventory.HasReaders(r.ours, id) {
				return nil, nil
			}
			return removalPlan(r.rest), nil
		},
		intentWritten: r.intentWritten, commit: r.commit,
	}
}

// endChains drops tables that were to chain images onto those of a set and did
// not come live: they hold these. It resumes what that left suspended. The locks of
// its origins are held. It returns our devices as they are then.
func (s *session) endChains(ours *stack.View, id string) (*stack.View, error) {
	changed := false
	for d := range ours.Devices() {
		newer, err := s.pendingOn(d, ours)
		if err != nil {
			return nil, err
		}
		pending := newer != nil && newer.ID == id
		if d.Info.Inactive && !pending {
			continue // a resume would bring that table live
		}
		// A swap that the kernel refused leaves the core suspended, and its readers wait.
		held := d.Role == plan.RoleCore && d.Info.Live && d.Info.Suspended && inventory.SharesBase(ours, d, id)
		if !pending && !held {
			continue
		}
		if err := slot.Drop(s.ctl, ioctl.ID{Dev: d.Dev}, ioctl.Hidden); err != nil {
			return nil, err
		}
		changed = true
	}
	if !changed {
		return ours, nil
	}
	return s.read.Look()
}

// pendingOn is the core that the inactive table of a live snapshot names.
func (s *session) pendingOn(d stack.Device, ours *stack.View) (*stack.Device, error) {
	if !d.Role.Member() || !d.Info.Live || !d.Info.Inactive {
		return nil, nil
	}
	_, table, err := s.read.Table(ioctl.ID{UUID: d.UUID}, ioctl.QueryInactive)
	if err != nil {
		return nil, err
	}
	d.Table = table
	if through := ours.Through(d); len(through) > 0 {
		return &through[0], nil
	}
	return nil, nil
}

// endAllChains calls endChains for all sets without an operation in progress. A flattening has no entry in the
// journal: what it left suspended shows by that alone.
func (s *recovery) endAllChains(ctx context.Context, ours *stack.View) error {
	for d := range ours.Devices() {
		of, err := s.pendingOn(d, ours)
		if err != nil {
			return err
		}
		if of == nil && d.Role == plan.RoleCore && d.Info.Live && d.Info.Suspended {
			of = &d
		}
		if of == nil {
			continue
		}
		if err := s.endChainsOf(ctx, of.ID); err != nil {
			return err
		}
	}
	return nil
}

// endChainsOf calls endChains for one set, unless an operation has its origins.
func (s *recovery) endChainsOf(ctx context.Context, id string) error {
	var ours *stack.View
	locks, err := s.lockFor(ctx, change{look: func() (keys []string, err error) {
		if ours, err = s.read.Look(); err != nil {
			return nil, err
		}
		r, err := s.remains.Removal(ours, "", id)
		return append(originKeys(r), journal.IDKey(id)), err
	}})
	if _, held := errors.AsType[*journal.LockedError](err); held {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.unlock(locks)
	_, err = s.endChains(ours, id)
	return err
}
