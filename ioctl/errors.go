package ioctl

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// What can be wrong without an errno. Each comes wrapped in an *Error.
var (
	// ErrNotFound: no device-mapper device has this name, uuid or number. The
	// error unwraps to ENXIO and is fs.ErrNotExist too.
	ErrNotFound = errors.New("no such device-mapper device")
	// ErrBadFlags: the verb does not accept one of the flags. Nothing was called.
	ErrBadFlags = errors.New("flag not valid for this operation")
	// ErrBadName: a name or uuid is empty, too long, or has a byte that is not
	// allowed. Nothing is ever cut to fit. Nothing was called.
	ErrBadName = errors.New("name or uuid not valid")
	// ErrBadID: not exactly one of name, uuid and device number is given, or a
	// number is out of range. Nothing was called.
	ErrBadID = errors.New("exactly one of name, uuid and device number must be given")
	// ErrBadSpec: a target or message that cannot be written down: no type or one
	// of more than 15 bytes, no text, a NUL within. Nothing was called.
	ErrBadSpec = errors.New("target or message not valid")
	// ErrTooBig: the kernel's reply, or a table, does not fit into the largest
	// buffer (64 MiB), or a reply to a message into its 64 KiB.
	ErrTooBig = errors.New("too big for the largest buffer")
	// ErrBadReply: the kernel's reply contradicts itself.
	ErrBadReply = errors.New("reply of the kernel is malformed")
	// ErrUdevTimeout: udev did not finish in time; [Cookie.Wait] has removed the
	// semaphore all the same.
	ErrUdevTimeout = errors.New("udev did not finish in time")
)

// Error is a failed operation: "suspend vg-home: device or resource busy".
type Error struct {
	// Op is a verb: "create device", "load table", "suspend", "freeze", "open".
	Op string
	// Name is what it was done to: a device's name, uuid or number, or a path.
	Name string
	// Err is a unix.Errno or one of this package's sentinels.
	Err error

	lookup bool // ENXIO means that the device does not exist
}

// Error is the operation, its object and the cause.
func (e *Error) Error() string {
	if e.Name == "" {
		return e.Op + ": " + e.cause().Error()
	}
	return e.Op + " " + e.Name + ": " + e.cause().Error()
}

// Unwrap returns Err, normally a unix.Errno.
func (e *Error) Unwrap() error { return e.Err }

// Is answers for ErrNotFound and fs.ErrNotExist when the kernel's ENXIO can only
// mean a device that does not exist. The errnos themselves are found by Unwrap.
func (e *Error) Is(target error) bool {
	return (target == ErrNotFound || target == fs.ErrNotExist) && e.notFound()
}

func (e *Error) notFound() bool { return e.lookup && e.Err == unix.ENXIO }

func (e *Error) cause() error {
	if e.notFound() {
		return ErrNotFound
	}
	return e.Err
}

// wrap names the operation of an error from the transport; nil stays nil.
func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Name: name, Err: err}
}
