package run

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// slots are the two tables of a front as they were when the window was prepared,
// and the calls that read them again inside it. Lvm2 and others load tables of their
// own into a front at any time. One that is found there is neither brought live by us,
// nor taken over by what we planned, nor lost.
type slots struct {
	dev        ioctl.ID
	live, next *ioctl.Call
	was, waits []byte // as the kernel writes them; waits is empty if nothing does
	held       bool   // it was suspended before we came
	// displaced: what another program had loaded had to go for a moment, so that the
	// front could run. next has it still.
	displaced bool
}

// expect reads the slots of a front, and refuses what is not as planned.
func (r *Runner) expect(s plan.Step) error {
	dev, err := r.number(s.Device)
	if err != nil {
		return err
	}
	sl := &slots{dev: ioctl.ID{Dev: dev}, held: s.Held}
	var liveErr, nextErr error
	room := 2 * (textSize(s.Live) + textSize(s.Table))
	sl.live, liveErr = r.Control.PrepareTable(sl.dev, 0, room)
	sl.next, nextErr = r.Control.PrepareTable(sl.dev, ioctl.QueryInactive, room)
	if err := errors.Join(liveErr, nextErr); err != nil {
		return err
	}
	if sl.was, err = r.holds(sl.live, s.Live); err == nil {
		sl.waits, err = r.holds(sl.next, s.Table, s.Live) // a resume changes nothing if it is the live one
	}
	if err != nil {
		return err
	}
	if sl.live.State().Suspended && !s.Held {
		return fmt.Errorf("%s: %w", s.Device, ErrSuspended)
	}
	r.slots[s.Device] = sl
	return nil
}

// textSize is about what the kernel writes of a table.
func textSize(t targets.Table) (size int) {
	for _, row := range t {
		size += 64 + len(row.Target.Params())
	}
	return size
}

// holds makes sure that a slot has one of some tables, and returns what the kernel
// writes of it. The first is what was planned.
func (r *Runner) holds(slot *ioctl.Call, planned ...targets.Table) ([]byte, error) {
	if err := slot.Do(); err != nil {
		return nil, err
	}
	specs, err := slot.Specs()
	if errors.Is(err, ioctl.ErrTooBig) {
		return nil, fmt.Errorf("%w: it is longer than planned", ErrReloaded)
	}
	if err != nil {
		return nil, err
	}
	got, err := stack.ParseTable(specs)
	wanted := make([]targets.Table, len(planned))
	for i := range planned {
		if err == nil {
			wanted[i], err = r.numbered(planned[i])
		}
	}
	if err == nil && !slices.ContainsFunc(wanted, got.Equal) {
		err = fmt.Errorf("%w: it is %q, not %q", ErrReloaded, got.Redacted(), wanted[0].Redacted())
	}
	if err != nil || len(specs) == 0 {
		return nil, err
	}
	b, _ := slot.Payload()
	return bytes.Clone(b), nil
}

// untouched tells, inside the window, whether a front is as it was. Between this
// look and the call after it nothing in the kernel keeps others away: what they do
// then is found at the next look, or when the set is verified.
func (sl *slots) untouched() error {
	if sl == nil {
		return nil
	}
	if err := sl.live.Do(); err != nil {
		return err
	}
	b, fits := sl.live.Payload()
	switch {
	case !fits || !bytes.Equal(b, sl.was):
		return ErrReloaded
	case sl.live.State().Inactive != (len(sl.waits) > 0):
		return ErrReloaded
	case len(sl.waits) == 0:
		return nil
	}
	if err := sl.next.Do(); err != nil {
		return err
	}
	if b, fits = sl.next.Payload(); !fits || !bytes.Equal(b, sl.waits) {
		return ErrReloaded
	}
	return nil
}

// beforehand is what must hold for a front to be suspended: whoever suspended it is
// in a window of his own, which our resume would end.
func (sl *slots) beforehand() error {
	err := sl.untouched()
	if err == nil && sl != nil && !sl.held && sl.live.State().Suspended {
		err = ErrSuspended
	}
	return err
}

// waiting is what is left for the resume, as the kernel writes it.
func (sl *slots) waiting() []byte {
	if sl == nil {
		return nil
	}
	return sl.waits
}

// displace notes that what waits in the slot is another program's, before it is
// cleared away. A front that is held must run, and a resume would swap that in, in
// the middle of what the program is doing.
func (sl *slots) displace() {
	if sl == nil || sl.next.Do() != nil || !sl.next.State().Inactive {
		return
	}
	b, _ := sl.next.Payload()
	sl.displaced = len(sl.waits) == 0 || !bytes.Equal(b, sl.waits)
}

// reinstate loads again what was displaced, when writers run.
func (w *window) reinstate() error {
	var errs []error
	for i := range w.calls {
		sl := w.calls[i].slots
		if sl == nil || !sl.displaced {
			continue
		}
		sl.displaced = false
		specs, err := sl.next.Specs()
		if err == nil {
			flags := ioctl.SecureData
			if sl.next.Info().ReadOnly {
				flags |= ioctl.ReadOnly
			}
			err = w.r.Control.Load(sl.dev, flags, specs)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the table that another program had loaded into %s is lost: %w", w.calls[i].step.Device, err))
		}
	}
	return errors.Join(errs...)
}
