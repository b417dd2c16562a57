package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// LockedError says who holds a lock.
type LockedError struct {
	Key string
	PID int // 0 if the owner has not written it yet
}

func (e *LockedError) Error() string {
	kind, name, _ := strings.Cut(e.Key, "-")
	if kind == "origin" {
		name = strings.ReplaceAll(name, "_", ":")
	}
	if e.PID == 0 {
		return fmt.Sprintf("another dmsnap works on %s %s", kind, name)
	}
	return fmt.Sprintf("another dmsnap (pid %d) works on %s %s", e.PID, kind, name)
}

// Locks are held until Release. The kernel drops them when the process dies.
type Locks struct {
	dir   Dir
	files []*ioctl.File
}

// OriginKey is the lock of one origin; SetKey that of a set's name.
func OriginKey(devno string) string { return "origin-" + strings.ReplaceAll(devno, ":", "_") }

// SetKey is the lock of a set's name.
func SetKey(name string) string { return "set-" + name }

// Lock takes all locks or none, without waiting, always in one order, so that
// two operations on overlapping sets cannot wait for each other.
func (d Dir) Lock(pid int, keys ...string) (*Locks, error) {
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	l := &Locks{dir: d}
	for _, key := range keys {
		f, err := d.lock(key, pid)
		if _, held := errors.AsType[*LockedError](err); err != nil && !held {
			err = d.wrap(err)
		}
		if err != nil {
			return nil, errors.Join(err, l.Release())
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

// LockWithin is Lock with patience: it tries again until the limit is over. It
// holds nothing while it waits, so nobody waits for one who waits.
func (d Dir) LockWithin(ctx context.Context, limit time.Duration, pid int, keys ...string) (*Locks, error) {
	end := time.Now().Add(limit)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		l, err := d.Lock(pid, keys...)
		if _, held := errors.AsType[*LockedError](err); !held || time.Until(end) <= 0 {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(min(wait, time.Until(end))):
		}
	}
}

// Held tells who holds one of the locks, nil if nobody does. It makes no file and
// keeps no lock, so it works on a frozen filesystem.
func (d Dir) Held(keys ...string) (*LockedError, error) {
	for _, key := range keys {
		name := path.Join(d.Path, locksDir, key)
		f, err := d.Kernel.Open(name, unix.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = f.Lock(unix.LOCK_SH | unix.LOCK_NB)
		cerr := f.Close() // with the lock, before anything is read that may have to wait
		if errors.Is(err, unix.EWOULDBLOCK) {
			return &LockedError{Key: key, PID: d.owner(name)}, cerr
		}
		if err := errors.Join(err, cerr); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// lock takes one. The holder unlinks the file before it lets go, so a lock on a
// file that is no longer the one at the path is worth nothing: try again.
func (d Dir) lock(key string, pid int) (*ioctl.File, error) {
	name := path.Join(d.Path, locksDir, key)
	for range lockTries {
		f, err := d.Kernel.Open(name, unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			return nil, err
		}
		err = f.Lock(unix.LOCK_EX | unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) && f.Lock(unix.LOCK_SH|unix.LOCK_NB) == nil {
			// Nobody owns it: somebody looks, as Held does, and is done at once.
			if err := f.Close(); err != nil {
				return nil, err
			}
			time.Sleep(time.Millisecond)
			continue
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(&LockedError{Key: key, PID: d.owner(name)}, f.Close())
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if d.current(f, name) {
			_, err = f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
			if err != nil {
				return nil, errors.Join(err, d.unlock(f))
			}
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return nil, &LockedError{Key: key}
}

// lockTries bounds the races lost in a row.
const lockTries = 1000

func (d Dir) current(f *ioctl.File, name string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := d.Kernel.Stat(name)
	return err == nil && mine.Dev == there.Dev && mine.Ino == there.Ino
}

func (d Dir) owner(name string) int {
	b, err := d.Kernel.ReadFile(name)
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n") // more may be left of a longer number
	pid, err := strconv.Atoi(line)
	if err != nil {
		return 0
	}
	return pid
}

func (d Dir) unlock(f *ioctl.File) error {
	return errors.Join(d.drop(f.Path()), f.Close())
}

// Release lets go of all locks.
func (l *Locks) Release() error {
	var errs []error
	for _, f := range slices.Backward(l.files) {
		errs = append(errs, l.dir.unlock(f))
	}
	l.files = nil
	return errors.Join(errs...)
}
