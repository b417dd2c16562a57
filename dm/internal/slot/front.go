package slot

import (
	"context"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// How long lvm2 may keep us from a front, and we lvm2.
const (
	patience = time.Second
	hold     = 10 * time.Second
)

// RenewFront is Renew for a front whose slot was cleared so that it could run, when
// writers run again, by a process that is no operation. alone calls its argument while
// no operation has the origin. It waits for lvm2's lock, and only
// then tries ours: operations wait for us no longer than the load takes. What
// waits in the slot by now is another program's, and ended the danger when it was loaded.
func RenewFront(ctx context.Context, k *ioctl.Kernel, ctl *ioctl.Control, id ioctl.ID, alone func(func() error) error) error {
	info, err := ctl.Status(id)
	if err != nil {
		return err
	}
	if group := plan.Group(info.Name, info.UUID); group != "" {
		lock, err := lvmlock.Take(ctx, k, group, patience, hold)
		if err != nil {
			return err
		}
		defer func() { _ = lock.Unlock() }() // a file that stays does no harm
	}
	return alone(func() error {
		info, err := ctl.Status(id)
		if err != nil || info.Suspended || info.Inactive {
			return err
		}
		return Renew(ctl, id, ioctl.PrimarySource)
	})
}
