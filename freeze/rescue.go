package freeze

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Rescue thaws the filesystems of a plan that are frozen, whoever froze them,
// and returns the mount points of those that were. It is for freezes that a
// dead process left behind: the caller knows that no live process froze them.
// Resume the devices first, or it blocks. Every filesystem is tried; errors are
// joined. A superblock without a mount cannot be reached: mount it again first.
func Rescue(ctx context.Context, k *ioctl.Kernel, plan Plan) (thawed []string, err error) {
	var errs []error
	for _, f := range plan {
		if f.Method != Freeze {
			continue
		}
		if err := ctx.Err(); err != nil {
			return thawed, errors.Join(append(errs, err)...)
		}
		was, err := rescue(k, f)
		if was {
			thawed = append(thawed, f.Mountpoint())
		}
		errs = append(errs, err)
	}
	return thawed, errors.Join(errs...)
}

func rescue(k *ioctl.Kernel, f Filesystem) (thawed bool, err error) {
	h, err := OpenHandle(k, f)
	if err != nil {
		return false, err
	}
	err = h.thaw.Do()
	thawed = err == nil
	if errors.Is(err, unix.EINVAL) { // not frozen
		err = nil
	}
	return thawed, errors.Join(err, h.Close())
}
