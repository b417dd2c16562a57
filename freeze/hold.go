package freeze

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Freeze freezes through the mount point. It blocks until writers inside the
// filesystem are done and everything is written. The error is an [*Error] of
// kind [ErrFrozenByOther] or [ErrUnfreezable], or the [*ioctl.Error] with what
// else the kernel said (EIO of an aborted journal).
func (h *Handle) Freeze() error {
	switch err := h.freeze.Do(); {
	case err == nil:
		h.frozen = true
		return nil
	case errors.Is(err, unix.EBUSY):
		h.other.Cause = err
		return &h.other
	case errors.Is(err, unix.EOPNOTSUPP):
		h.unfreezable.Cause = err
		return &h.unfreezable
	default:
		return err
	}
}

// Prove asks the kernel whether the filesystem is frozen now, by freezing it
// again: EBUSY is the proof. Call it only while the device beneath is not
// suspended, best between the freeze and the suspend and again between the
// resume and the thaw: on a filesystem that another program thawed the second freeze
// would wait for the resume. [ErrUnproven]: it was not frozen, and is thawed
// again. [ErrNotFrozen]: there is nothing of ours to prove.
func (h *Handle) Prove() error {
	if !h.frozen {
		return &h.idle
	}
	switch err := h.prove.Do(); {
	case errors.Is(err, unix.EBUSY):
		return nil
	case err != nil:
		return err
	}
	// That call froze it.
	if err := h.thaw.Do(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err // and it is still held
	}
	h.frozen = false
	return &h.unproven
}

// Thaw ends our freeze; without one it does nothing and returns nil. It blocks
// while the device beneath is suspended. [ErrThawedByOther]: the freeze was
// gone already. After any other error the freeze is still held and Thaw may be
// called again.
//
// A program that thaws our freeze and then freezes for itself cannot be told
// from us: that freeze is ended too.
func (h *Handle) Thaw() error {
	if !h.frozen {
		return nil
	}
	switch err := h.thaw.Do(); {
	case err == nil:
		h.frozen = false
		return nil
	case errors.Is(err, unix.EINVAL):
		h.frozen = false
		h.gone.Cause = err
		return &h.gone
	default:
		return err
	}
}

// try freezes and thaws at once to learn whether the filesystem can be frozen,
// for unknown types. Writers wait for as long as that takes: call it
// outside the window. [ErrFrozenByOther] is no answer to the question.
func (h *Handle) try() error {
	if err := h.Freeze(); err != nil {
		return err
	}
	return h.Thaw()
}
