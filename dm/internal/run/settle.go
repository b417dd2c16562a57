package run

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

const mapperDir = "/dev/mapper/"

// settle waits for udev and then makes the nodes agree with the devices: on a
// host without udev, or one whose rules do not know our devices, we are the
// only ones who make them. Never called inside the window: udev may need a
// device that is suspended there.
func (r *Runner) settle() error {
	errs := []error{r.waitUdev()}
	for name, dev := range r.made {
		errs = append(errs, r.makeNode(mapperDir+name, dev))
	}
	for name := range r.gone {
		errs = append(errs, r.dropNode(mapperDir+name))
	}
	return errors.Join(errs...)
}

func (r *Runner) waitUdev() error {
	if r.cookie == nil {
		return nil
	}
	err := r.cookie.Wait(r.UdevTimeout)
	r.cookie = nil
	if errors.Is(err, ioctl.ErrUdevTimeout) {
		r.Log.Warn("udev did not confirm in time; nodes are made without it", "timeout", r.UdevTimeout)
		return nil
	}
	return err
}

func (r *Runner) makeNode(node string, dev targets.DevNo) error {
	st, err := r.Kernel.Stat(node)
	switch {
	case err == nil && st.Is(unix.S_IFBLK) && targets.DevNo(st.Rdev) == dev:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	// Whatever has the name, a dangling link too, belongs to a device that is gone.
	if err := r.dropNode(node); err != nil {
		return err
	}
	return r.Kernel.Mknod(node, unix.S_IFBLK|0o600, ioctl.DevNo(dev))
}

// dropNode removes what still has the name of a device that is gone.
func (r *Runner) dropNode(node string) error {
	err := r.Kernel.Unlink(node)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
