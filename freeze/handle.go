package freeze

import (
	"errors"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Handle is one filesystem with a descriptor on one of its mounts, opened and
// verified before the window. While it is open the mount cannot be unmounted.
// Freeze, Prove and Thaw make prepared calls and allocate nothing when they
// succeed or meet another holder. A Handle is not safe for concurrent use.
type Handle struct {
	fs    Filesystem
	mount Mount
	file  *ioctl.File

	freeze, thaw, prove *ioctl.Call
	frozen              bool // we froze it and have not thawed it

	// made beforehand: the window must not allocate
	other, gone, unproven, unfreezable, idle Error
}

// OpenHandle opens the first mount of the filesystem that is still what the
// table said. It may block where opening a directory blocks: on a suspended
// device, on a dead network filesystem above the mount point. The error is an
// [*Error] of kind [ErrStale].
func OpenHandle(k *ioctl.Kernel, f Filesystem) (*Handle, error) {
	var causes []error
	for _, m := range f.Mounts {
		file, err := openMount(k, m)
		if err == nil {
			return newHandle(f, m, file), nil
		}
		causes = append(causes, err)
	}
	return nil, &Error{Op: "open", Mountpoint: f.Mountpoint(), DevNo: f.DevNo, Kind: ErrStale, Cause: errors.Join(causes...)}
}

func newHandle(f Filesystem, m Mount, file *ioctl.File) *Handle {
	h := &Handle{
		fs: f, mount: m, file: file,
		freeze: file.PrepareFreeze(), thaw: file.PrepareThaw(), prove: file.PrepareFreeze(),
	}
	note := func(op string, kind error) Error {
		return Error{Op: op, Mountpoint: m.Path, DevNo: f.DevNo, Kind: kind}
	}
	h.other = note("freeze", ErrFrozenByOther)
	h.unfreezable = note("freeze", ErrUnfreezable)
	h.gone = note("thaw", ErrThawedByOther)
	h.unproven = note("prove", ErrUnproven)
	h.idle = note("prove", ErrNotFrozen)
	return h
}

// Filesystem is what was opened.
func (h *Handle) Filesystem() Filesystem { return h.fs }

// Fd is the descriptor on the mount.
func (h *Handle) Fd() int { return h.file.Fd() }

// Frozen reports whether this Handle froze the filesystem and has not thawed it.
func (h *Handle) Frozen() bool { return h.frozen }

// SyncFS writes out what is dirty, before the window: the freeze then has less
// to write. It blocks as long as the disk needs, and for ever on a suspended
// device.
func (h *Handle) SyncFS() error { return h.file.SyncFS() }

// Close thaws the filesystem and closes the descriptor. If the thaw fails the
// descriptor stays open, for another try.
func (h *Handle) Close() error {
	thawed := h.Thaw()
	if h.frozen {
		return thawed
	}
	return errors.Join(thawed, h.file.Close())
}
