package run

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
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
	r.devices[s.Device] = info.Dev // restore goes by it
	want, err := r.numbered(s.Live)
	if err != nil {
		return err
	}
	if !live.Equal(want) {
		return fmt.Errorf("%w: it is %q, not %q", ErrReloaded, live.Redacted(), want.Redacted())
	}
	ours, err := r.numbered(s.Table)
	if err == nil && info.Inactive {
		err = r.waitsOnly(id, ours, live)
	}
	return err
}

// waitsOnly: an operation that died may have loaded one of these tables.
func (r *Runner) waitsOnly(id ioctl.ID, harmless ...targets.Table) error {
	_, waiting, err := r.table(id, ioctl.QueryInactive)
	if err == nil && len(waiting) > 0 && !slices.ContainsFunc(harmless, waiting.Equal) {
		err = fmt.Errorf("%w: %q is loaded and not live yet", ErrReloaded, waiting.Redacted())
	}
	return err
}

// restore gives a front its own table back, wherever the operation stopped. A
// table that is neither the front's own nor ours was loaded by another program in
// the meantime and is left alone, in whichever slot it is. It goes by number, as the
// window does: the front may have another name by now.
func (r *Runner) restore(s plan.Step) error {
	dev, err := r.number(s.Device)
	if err != nil {
		return err
	}
	id := ioctl.ID{Dev: dev}
	info, live, err := r.table(id, 0)
	if err != nil {
		return err
	}
	ours, loaded := r.loaded[s.Device]
	s.Device = info.Name
	own, err := r.numbered(s.Table)
	if err != nil {
		return err
	}
	foreign := false
	if info.Inactive {
		err := r.waitsOnly(id, ours, live)
		if foreign = errors.Is(err, ErrReloaded); err != nil && !foreign {
			return err
		}
	}
	onOurs := loaded && isOrigin(ours) && live.Equal(ours)
	switch {
	case onOurs && foreign:
		return fmt.Errorf("%s: %w", s.Device, ErrReloaded)
	case onOurs:
		return r.putBack(id, s)
	case foreign:
		return nil
	case loaded && (info.Inactive || live.Equal(own)): // the window or its guard may have cleared the slot
		if err := slot.Release(r.Control, id, udevFlags(s)); err != nil || r.stuck {
			return err // no load while filesystems are frozen; recovery does it
		}
		return slot.Renew(r.Control, id, udevFlags(s))
	case info.Suspended:
		return r.resume(s)
	}
	return nil
}

// putBack is restore for a front that runs on our table already.
func (r *Runner) putBack(id ioctl.ID, s plan.Step) error {
	if err := r.fill(id, s); err != nil {
		return err
	}
	if s.Peer != "" {
		return r.takeBack(s)
	}
	return r.resume(s)
}

// clear drops what this run, or an operation that died, left in a device's inactive
// slot, or had to clear from it in haste.
func (r *Runner) clear(s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	info, live, err := r.table(id, 0)
	if err != nil {
		return err
	}
	mine := r.loaded[s.Device] != nil || info.Inactive
	if s.Role == plan.RoleFront {
		if mine, err = r.left(s, info, live); err != nil {
			return err
		}
	}
	if !mine {
		return nil
	}
	return slot.Renew(r.Control, id, udevFlags(s))
}

// left tells whether what waits in a front is of an operation that died: what leads to
// its base, or equals what is live. Where nothing waits, a front that runs on its own
// table may have had something.
func (r *Runner) left(s plan.Step, info ioctl.Info, live targets.Table) (bool, error) {
	if !info.Inactive {
		return live.Equal(s.Live), nil
	}
	base, err := r.number(s.Peer)
	if err != nil {
		return false, err
	}
	_, waiting, err := r.table(ioctl.ID{Name: s.Device}, ioctl.QueryInactive)
	return stack.LeadsTo(waiting, base) || waiting.Equal(live), err
}
