package lvmlock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// BusyError says that a command of lvm2 did not unlock a group in time.
type BusyError struct {
	Group  string
	Waited time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("another program, such as an LVM command, has locked volume group %s for more than %v", e.Group, e.Waited)
}

// LostError says that a group was held for as long as lvm2 can be made to wait.
type LostError struct {
	Group string
	After time.Duration
}

func (e *LostError) Error() string {
	return fmt.Sprintf("LVM was kept from volume group %s for %v, and writers are not held yet", e.Group, e.After)
}

// DirError is a directory in which lvm2's locks cannot be taken.
type DirError struct {
	Dir string
	Err error
}

func (e *DirError) Error() string { return "LVM's lock directory " + e.Dir + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *DirError) Unwrap() error { return e.Err }

// Lock is that of one group.
type Lock struct {
	k     *ioctl.Kernel
	timer *time.Timer
	mu    sync.Mutex // the timer unlocks from another goroutine
	file  *ioctl.File
}

// Take waits for the lock of a group, for at most timeout, and keeps it for at most
// limit: a program that waits for us, such as dmeventd that is to give a full pool
// more room, may be what we wait for.
func Take(ctx context.Context, k *ioctl.Kernel, group string, timeout, limit time.Duration) (*Lock, error) {
	name := path.Join(Dir(k), "V_"+group)
	w := wait{ctx: ctx, k: k, end: time.Now().Add(timeout)}
	first, err := w.lock(name + ":aux")
	if err == nil {
		l := &Lock{k: k}
		l.file, err = w.lock(name)
		err = errors.Join(err, drop(k, first))
		if err == nil {
			l.unlockAfter(limit)
			return l, nil
		}
		err = errors.Join(err, l.Unlock())
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, &BusyError{Group: group, Waited: timeout}
	case ctx.Err() != nil:
		return nil, err
	}
	return nil, &DirError{Dir: path.Dir(name), Err: err}
}

func (l *Lock) unlockAfter(limit time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(limit, func() { _ = l.Drop() })
}

// Locked reports whether the lock was neither dropped nor unlocked so far.
func (l *Lock) Locked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file != nil
}

// Unlock removes the file, as lvm2 does, and closes it. A lock that was dropped is no
// error.
func (l *Lock) Unlock() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end(func(f *ioctl.File) error { return drop(l.k, f) })
}

// Drop unlocks by closing the file and makes no other call: the file may lie on what is
// frozen.
func (l *Lock) Drop() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end((*ioctl.File).Close)
}

func (l *Lock) end(let func(*ioctl.File) error) error {
	if l.timer != nil {
		l.timer.Stop()
	}
	f := l.file
	if l.file = nil; f == nil {
		return nil
	}
	return let(f)
}

// drop removes the file first: once it is unlocked another process may have it.
func drop(k *ioctl.Kernel, f *ioctl.File) error {
	err := k.Unlink(f.Path())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// wait is one attempt to get both files.
type wait struct {
	ctx context.Context
	k   *ioctl.Kernel
	end time.Time
}

// lock takes one file. It never sleeps in the kernel, where no context ends it.
func (w wait) lock(name string) (*ioctl.File, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		f, err := w.try(name)
		if f != nil || !errors.Is(err, unix.EWOULDBLOCK) || !time.Now().Before(w.end) {
			return f, err
		}
		select {
		case <-w.ctx.Done():
			return nil, w.ctx.Err()
		case <-time.After(pause):
		}
	}
}

// try fails with EWOULDBLOCK also if the file was unlinked before it was locked: who
// locks the path then has another one.
func (w wait) try(name string) (*ioctl.File, error) {
	f, err := w.open(name)
	if err != nil {
		return nil, err
	}
	err = f.Lock(unix.LOCK_EX | unix.LOCK_NB)
	if err == nil && !w.current(f) {
		err = unix.EWOULDBLOCK
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// open makes the directory too, as lvm2 does: its first command since boot may come
// right after us.
func (w wait) open(name string) (*ioctl.File, error) {
	const flags, mode = unix.O_CREAT | unix.O_APPEND | unix.O_RDWR, 0o777
	f, err := w.k.Open(name, flags, mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = w.k.MkdirAll(path.Dir(name), 0o700); err == nil {
			f, err = w.k.Open(name, flags, mode)
		}
	}
	return f, err
}

func (w wait) current(f *ioctl.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := w.k.Stat(f.Path())
	return err == nil && mine.Dev == there.Dev && mine.Ino == there.Ino
}
