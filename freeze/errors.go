package freeze

import (
	"errors"

	"github.com/dmsnap/dmsnap/ioctl"
)

// What an [*Error] can be; ask with errors.Is.
var (
	// ErrFrozenByOther: the filesystem was frozen before we came. It stays
	// frozen; thawing it is its holder's business.
	ErrFrozenByOther = errors.New("already frozen by another program")
	// ErrUnproven: the proof found the filesystem not frozen. It is thawed.
	ErrUnproven = errors.New("was not frozen when this was verified")
	// ErrThawedByOther: our freeze was gone when we came to thaw it. Nothing
	// is known of when it ended.
	ErrThawedByOther = errors.New("thawed by another program")
	// ErrUnfreezable: this filesystem has no freeze of its own.
	ErrUnfreezable = errors.New("cannot be frozen through its mount point")
	// ErrStale: no mount of the filesystem can be reached any more under the
	// path and number it had. Read the mounts again.
	ErrStale = errors.New("no longer mounted where it was")
	// ErrNotFrozen: a proof was asked for a filesystem not frozen here.
	ErrNotFrozen = errors.New("not frozen here")
)

// Error is what happened to one filesystem.
type Error struct {
	Op         string // "open", "freeze", "prove", "thaw", "try"
	Mountpoint string // as its mount namespace sees it
	DevNo      ioctl.DevNo
	Kind       error // one of the Err variables
	Cause      error // what the kernel said, or nil
}

// Error names operation, mount point and kind, then the cause.
func (e *Error) Error() string {
	text := e.Op + " " + e.Mountpoint + " (" + e.DevNo.String() + "): " + e.Kind.Error()
	if e.Cause != nil && e.Kind != ErrFrozenByOther { // the kernel's word for that is EBUSY, and says less
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap gives Kind and Cause, so that errors.Is finds both the sentinel and
// the errno.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
