package slot

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// How long lvm2 may keep us from a front, and we lvm2.
const (
	patience = time.Second
	hold     = 10 * time.Second
)

// RenewFront is Renew for a front whose slot was cleared so that it could run, by
// a process that holds no lock, when writers run again. Another operation may have the
// origin by now, and bring its own table live between our look and our resume: it is
// left alone, and so is what it has to recover. For lvm2's lock it waits. What waits in
// the slot by now is another program's, and ended the danger when it was loaded.
func RenewFront(ctx context.Context, k *ioctl.Kernel, ctl *ioctl.Control, id ioctl.ID) (err error) {
	ours, err := journal.LockHost(k, os.Getpid(), journal.OriginKey(id.Dev.String()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Unlock()) }()
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
	if info, err = ctl.Status(id); err != nil || info.Suspended || info.Inactive {
		return err
	}
	return Renew(ctl, id, ioctl.PrimarySource)
}
