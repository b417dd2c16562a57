package freeze

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

const expeditePath = "/sys/kernel/rcu_expedited"

// Expedite makes the kernel end its RCU grace periods at once, at the price of
// interrupting every processor. Nearly all of a window's time is such periods,
// inside freeze and suspend. The switch is the whole machine's, so it is on for
// the window only. A nil *Expedite does nothing.
type Expedite struct {
	file   *ioctl.File
	before []byte
}

// OpenExpedite prepares the switch. It returns nil if the kernel has none, or if
// another window is using it: that one puts it back.
func OpenExpedite(k *ioctl.Kernel) (*Expedite, error) {
	f, err := k.Open(expeditePath, unix.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := f.Lock(unix.LOCK_EX | unix.LOCK_NB); err != nil {
		if cerr := f.Close(); cerr != nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, cerr)
		}
		return nil, nil
	}
	before := make([]byte, 16)
	n, err := f.Read(before)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Expedite{file: f, before: before[:n]}, nil
}

// On makes grace periods short.
func (e *Expedite) On() error {
	if e == nil {
		return nil
	}
	_, err := e.file.WriteAt([]byte("1\n"), 0)
	return err
}

// Off puts back what was there.
func (e *Expedite) Off() error {
	if e == nil {
		return nil
	}
	_, err := e.file.WriteAt(e.before, 0)
	return err
}

// Close lets go of the switch.
func (e *Expedite) Close() error {
	if e == nil {
		return nil
	}
	return e.file.Close()
}
