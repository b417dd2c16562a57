package dm

import (
	"errors"
	"fmt"

	devmapper "github.com/anatol/devmapper.go"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// lifecycle is the plain part of a device's life: no flags, no cookies, nothing
// inside the window.
type lifecycle interface {
	create(name, uuid string) error
	version() (string, error)
}

// libraryLifecycle is the host's, through devmapper.go. It opens the control
// node for each call, which is why nothing of it may run inside the window.
// Names are checked before: the library cuts long ones silently.
type libraryLifecycle struct{}

func (libraryLifecycle) create(name, uuid string) error {
	return wrapLibraryError("create device", name, devmapper.Create(name, uuid))
}

func (libraryLifecycle) version() (string, error) {
	major, minor, patch, err := devmapper.GetVersion()
	return fmt.Sprintf("%d.%d.%d", major, minor, patch), wrapLibraryError("read version", "", err)
}

// wrapLibraryError gives the library's errors our verb and device; it has neither.
func wrapLibraryError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		err = errno
	}
	return &ioctl.Error{Op: op, Name: name, Err: err}
}

// controlLifecycle serves kernels the library cannot reach: the fake one.
type controlLifecycle struct{ ctl *ioctl.Control }

func (c controlLifecycle) create(name, uuid string) error {
	_, err := c.ctl.Create(name, uuid, 0, ioctl.DevNo{})
	return err
}

func (c controlLifecycle) version() (string, error) {
	v, err := c.ctl.Version()
	return v.String(), err
}
