package run

import (
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// replaceable looks, right before a load, whether a front still runs on the table
// that the plan was made for, and whether nothing waits in its inactive slot: a load
// would take the place of what another program has just put there.
func (r *Runner) replaceable(s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	info, live, err := r.table(id, 0)
	if err != nil {
		return err
	}
	want, err := r.numbered(s.Live)
	if err != nil {
		return err
	}
	if !live.Equal(want) {
		return fmt.Errorf("%w: it is %q, not %q", ErrReloaded, live.Redacted(), want.Redacted())
	}
	ours, err := r.numbered(s.Table)
	if err == nil && info.Inactive {
		err = r.waitsOnly(id, ours)
	}
	r.loaded[s.Device] = ours
	return err
}

// waitsOnly: an operation that died may have loaded the same table.
func (r *Runner) waitsOnly(id ioctl.ID, ours targets.Table) error {
	_, waiting, err := r.table(id, ioctl.QueryInactive)
	if err == nil && len(waiting) > 0 && !waiting.Equal(ours) {
		err = fmt.Errorf("%w: %q is loaded and not live yet", ErrReloaded, waiting.Redacted())
	}
	return err
}

// restore gives a front its own table back, wherever the operation stopped. A
// table that is neither the front's own nor ours was loaded by somebody else in
// the meantime and is left alone, in whichever slot it is.
func (r *Runner) restore(s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	info, live, err := r.table(id, 0)
	if err != nil {
		return err
	}
	ours := r.loaded[s.Device]
	foreign := false
	if info.Inactive {
		if foreign, err = r.clearOurs(id, ours); err != nil {
			return err
		}
	}
	switch {
	case isOrigin(ours) && live.Equal(ours) && foreign:
		return fmt.Errorf("%s: %w", s.Device, ErrReloaded)
	case isOrigin(ours) && live.Equal(ours):
		return r.putBack(s)
	case info.Suspended && !foreign:
		return r.resume(s)
	}
	return nil
}

// putBack is restore for a front that runs on our table already.
func (r *Runner) putBack(s plan.Step) error {
	s.Live = nil
	if err := r.load(s); err != nil {
		return err
	}
	if s.Peer != "" {
		return r.takeBack(s)
	}
	return r.resume(s)
}

// clearOurs drops the table that this run loaded from the inactive slot: it holds the
// base. It tells whether another's waits there instead, which stays.
func (r *Runner) clearOurs(id ioctl.ID, ours targets.Table) (foreign bool, err error) {
	_, waiting, err := r.table(id, ioctl.QueryInactive)
	if err != nil || len(waiting) == 0 {
		return false, err
	}
	if !waiting.Equal(ours) {
		return true, nil
	}
	return false, r.Control.Clear(id)
}

// clear drops what waits in the inactive slot; from a front only what leads to its
// base, and was left there by an operation that died.
func (r *Runner) clear(s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	if s.Role != plan.RoleFront {
		return r.Control.Clear(id)
	}
	base, err := r.number(s.Peer)
	if err != nil {
		return err
	}
	_, waiting, err := r.table(id, ioctl.QueryInactive)
	if err != nil || !stack.LeadsTo(waiting, base) {
		return err
	}
	return r.Control.Clear(id)
}
