package dm

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Invalidate gives the images of a set up, and of older sets that read through it, so
// that writers of its origins do not wait for a store that does not answer. Each of
// its stores gets a table of errors: from the call on nothing more is sent to the
// device beneath. What its driver has already must end before that table is live, by
// the driver's timeout or because the device is cut off; Invalidate waits for it, and
// so do the writers that need it. Nobody else does then, and nothing but the images is
// lost. Remove takes the set down; its store is not wiped.
//
// Like Thaw it takes no lock, writes no file and needs no state directory, which may
// lie on what waits. If ctx is cancelled it returns and keeps waiting in the background; if the process
// ends, the stores go on as before.
func (m *Manager) Invalidate(ctx context.Context, name string) (err error) {
	s, err := m.open("thaw", name)
	if err != nil {
		return err
	}
	defer s.warnOfStalls(ctx, "inspect the stores")()
	ours, err := s.read.Look()
	var stores []stack.Device
	if err == nil {
		stores = inventory.Stores(ours, name)
	}
	if err == nil && len(stores) == 0 {
		err = plan.Refuse(plan.NotFound, "", "dmsnap list shows existing sets", "there is no set %s with a store", name)
	}
	if err != nil {
		s.close()
		return s.fail(err)
	}
	s.stalls.Now(fmt.Sprintf("wait until the driver below %s ends the I/O in flight", stores[0].Name))
	done := make(chan error, 1)
	go func() {
		defer s.close()
		done <- invalidation{s.ctl}.giveUp(stores)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return s.fail(err)
}

// invalidation gives stores up. It goes on when its caller does not wait any more.
type invalidation struct{ ctl *ioctl.Control }

// giveUp does it with all at the same time: each may have to wait.
func (v invalidation) giveUp(stores []stack.Device) error {
	errs := make(chan error, len(stores))
	for _, d := range stores {
		go func() { errs <- v.giveUpStore(d) }()
	}
	var all []error
	for range stores {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// giveUpStore swaps the table of errors in. A resume suspends the store for that: new
// bios wait from then on, those under way are waited for. An extend that is under way
// may have put its table in the place of ours meanwhile, so we look.
func (v invalidation) giveUpStore(d stack.Device) error {
	id := ioctl.ID{UUID: d.UUID}
	table := []ioctl.Spec{{Length: uint64(d.Table.Size()), Type: targets.Error{}.Type()}}
	for range 3 {
		if err := v.ctl.Load(id, 0, table); err != nil {
			return err
		}
		err := error(unix.EINTR) // of a signal, the wait begins again
		for errors.Is(err, unix.EINTR) {
			_, err = v.ctl.Resume(id, ioctl.SkipLockFS|ioctl.NoFlush, ioctl.FlagsOnly(ioctl.Hidden|ioctl.DisableDMRules))
		}
		if err != nil {
			return err
		}
		_, live, err := stack.Table(v.ctl, id, 0)
		if err != nil || stack.GivenUp(live) {
			return err
		}
	}
	return plan.Refuse(plan.Busy, d.Name, "try again", "another program is changing the table of %s", d.Name)
}
