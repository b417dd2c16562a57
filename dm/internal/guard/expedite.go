package guard

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

const (
	expeditePath = "/sys/kernel/rcu_expedited"
	// expediteNote has what the switch was before dmsnap turned it, for as long as
	// it may be turned. In memory: a reboot ends both.
	expediteNote = "/run/dmsnap/rcu_expedited"
)

// Expedite makes the kernel end its RCU grace periods at once, at the price of
// interrupting every processor. Nearly all of a window's time is such periods,
// inside freeze and suspend. The switch is the whole machine's, so it is on for
// the window only. A nil *Expedite does nothing.
//
// Its lock is the open file's, and the guard has that too: until both processes
// have let it go no other window takes what it reads for an administrator's
// setting. The note tells that even when both were killed.
type Expedite struct {
	k      *ioctl.Kernel
	file   *ioctl.File
	before []byte
	on     bool // or may be
}

// OpenExpedite prepares the switch. It returns nil if the kernel has none, if
// there is nothing to switch or no place for the note, or if another window is
// using it: that one puts it back.
func OpenExpedite(k *ioctl.Kernel) (*Expedite, error) {
	e, _, err := takeExpedite(k)
	if e == nil || err != nil {
		return nil, err
	}
	// A note that still holds is not written again: one that is cut short tells nothing.
	if isOn(e.before) || !e.on && e.note() != nil { // it saves time, and is no reason to fail
		return nil, e.Close()
	}
	return e, nil
}

// EndExpedite puts the switch back if a window died with it on, and its guard
// too, and returns what it is now. Without a note it is not ours.
func EndExpedite(k *ioctl.Kernel) (restored string, err error) {
	if _, err := k.Stat(expediteNote); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	e, noted, err := takeExpedite(k)
	if e == nil || err != nil {
		return "", err
	}
	if noted {
		restored = strings.TrimSpace(string(e.before))
		err = e.Off()
	}
	return restored, errors.Join(err, e.Close())
}

// takeExpedite locks the switch and finds out what it was before anybody of ours
// turned it. noted: it is turned, by one who died.
func takeExpedite(k *ioctl.Kernel) (e *Expedite, noted bool, err error) {
	f, err := k.Open(expeditePath, unix.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if err := f.Lock(unix.LOCK_EX | unix.LOCK_NB); err != nil {
		if cerr := f.Close(); cerr != nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, false, errors.Join(err, cerr)
		}
		return nil, false, nil
	}
	now := make([]byte, 16)
	n, err := f.Read(now)
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	e = &Expedite{k: k, file: f, before: now[:n]}
	before, err := k.ReadFile(expediteNote)
	switch {
	case err == nil && len(before) > 0: // an empty one was not finished, and nothing switched
		noted = !bytes.Equal(bytes.TrimSpace(before), bytes.TrimSpace(e.before))
		e.before, e.on = before, noted
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, false, errors.Join(err, f.Close())
	}
	return e, noted, nil
}

func isOn(setting []byte) bool { return string(bytes.TrimSpace(setting)) != "0" }

// note writes down what the switch was.
func (e *Expedite) note() error {
	if err := e.k.Mkdir(path.Dir(expediteNote), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return e.k.WriteFile(expediteNote, e.before, 0o600)
}

// forget drops the note: the switch is what it was.
func (e *Expedite) forget() {
	if e != nil && !e.on {
		_ = e.k.Unlink(expediteNote) // it says what is true
	}
}

// On makes grace periods short.
func (e *Expedite) On() error {
	if e == nil {
		return nil
	}
	e.on = true
	_, err := e.file.WriteAt([]byte("1\n"), 0)
	return err
}

// Off puts back what was there.
func (e *Expedite) Off() error {
	if e == nil {
		return nil
	}
	_, err := e.file.WriteAt(e.before, 0)
	e.on = e.on && err != nil
	return err
}

// Close closes the switch, and so unlocks it.
func (e *Expedite) Close() error {
	if e == nil {
		return nil
	}
	e.forget()
	return e.file.Close()
}
