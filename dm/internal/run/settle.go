package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

const mapperDir = "/dev/mapper/"

// node is what a device has in /dev/mapper. Udev makes a link for it later if
// linked, and would leave alone whatever else has its name.
type node struct {
	dev    targets.DevNo
	linked bool
}

// udevGrace bounds how long udev may take for the new devices before the window
// opens; after that it only competes for CPU.
const udevGrace = time.Second

// drainUdev waits until udev is done with the devices made so far. No window
// fails because of it, and an udev that is late or has no rules is not waited for
// again.
func (r *Runner) drainUdev() {
	err := r.cookie.Drain(min(udevGrace, r.UdevTimeout))
	if err == nil {
		return
	}
	level := slog.LevelWarn
	if errors.Is(err, ioctl.ErrUdevTimeout) {
		level = slog.LevelDebug
	}
	r.Log.Log(context.Background(), level, "the window does not wait for udev", "error", errors.Join(err, r.cookie.Discard()))
	r.cookie = nil
}

// settle waits for udev where something goes, and makes the nodes agree with the
// devices. It does not wait for what udev makes: udev may be slow, its rules may
// not know our devices, and without it we are the only ones who make nodes. Never
// called inside the window: udev may need a device that is suspended there.
func (r *Runner) settle() error {
	errs := []error{r.waitUdev()}
	for name, n := range r.made {
		errs = append(errs, r.makeNode(mapperDir+name, n))
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
		r.Log.Warn("udev did not confirm in time; creating the nodes without it", "timeout", r.UdevTimeout)
		return nil
	}
	return err
}

func (r *Runner) makeNode(path string, n node) error {
	if there, err := r.isNode(path, n.dev); there || err != nil {
		return err
	}
	// Whatever has the name, a dangling link too, belongs to a device that is gone.
	if err := r.dropNode(path); err != nil {
		return err
	}
	name := fmt.Sprintf("dm-%d", n.dev.Minor)
	if there, err := r.isNode("/dev/"+name, n.dev); n.linked && there && err == nil && r.Kernel.UdevRunning() {
		err := r.Kernel.Symlink("../"+name, path)
		if errors.Is(err, fs.ErrExist) { // udev has made it just now
			return nil
		}
		return err
	}
	return r.Kernel.Mknod(path, unix.S_IFBLK|0o600, n.dev)
}

// isNode tells whether a path leads to a device.
func (r *Runner) isNode(path string, dev targets.DevNo) (bool, error) {
	st, err := r.Kernel.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.Is(unix.S_IFBLK) && st.Rdev == dev, err
}

// dropNode removes what still has the name of a device that is gone.
func (r *Runner) dropNode(node string) error {
	err := r.Kernel.Unlink(node)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
