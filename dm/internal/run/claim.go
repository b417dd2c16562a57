package run

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// claim opens an image exclusively, which a mount would. EBUSY: another program was faster.
// A device without a table has no node, and cannot be mounted.
func (r *Runner) claim(s plan.Step) error {
	n, err := r.number(s.Device)
	if err != nil {
		return err
	}
	f, err := r.Kernel.Open(fmt.Sprintf("/dev/dm-%d", n.Minor), unix.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err == nil {
		r.claims[s.Device] = f
	}
	return err
}

// unclaim comes right before the removal, which an open device refuses.
func (r *Runner) unclaim(image string) {
	f := r.claims[image]
	if f == nil {
		return
	}
	delete(r.claims, image)
	if err := f.Close(); err != nil {
		r.Log.Warn("closing an image failed", "image", image, "error", err)
	}
}
