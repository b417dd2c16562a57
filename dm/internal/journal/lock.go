package journal

import (
	"context"
	"errors"
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
	Key  string
	What string // what the key stands for, in words
	PID  int    // 0 if the owner has not written it yet
}

func (e *LockedError) Error() string {
	who := "another dmsnap"
	if e.PID != 0 {
		who += " (pid " + strconv.Itoa(e.PID) + ")"
	}
	if e.Key == MonitorKey {
		return who + " is already monitoring"
	}
	return who + " is using " + e.What
}

// Locks are taken until Unlock. The kernel drops them when the process dies.
type Locks struct {
	dir   Dir
	taken []takenLock
}

type takenLock struct {
	lockFile
	open *ioctl.File
}

// MonitorKey is the lock of a monitor. It is one of the state directory, whose
// records the monitor reads, and not of the host.
const MonitorKey = "monitor"

const (
	originKind  = "origin-"
	beneathKind = "beneath-"
	setKind     = "set-"
	idKind      = "uuid-" // after the others, so that an error names a set by its name first
)

// OriginKey is the lock of a device that is made an origin, or a store: what is
// done to it, and who stands on it, is up to the owner alone.
func OriginKey(devno string) string { return originKind + strings.ReplaceAll(devno, ":", "_") }

// BeneathKey is the lock of a device that a store stands on. Many may hold it, as
// many may stand there; no operation has the same device's OriginKey meanwhile.
func BeneathKey(devno string) string { return beneathKind + strings.ReplaceAll(devno, ":", "_") }

// MomentKeys are what a process locks that is no operation, to keep operations with some keys away
// for a moment: their origins, shared. Whoever wants one of them waits that moment.
func MomentKeys(keys []string) (moment []string) {
	for _, key := range keys {
		if device, ok := strings.CutPrefix(key, originKind); ok {
			moment = append(moment, beneathKind+device)
		}
	}
	return moment
}

// SetKey is the lock of a set's name.
func SetKey(name string) string { return setKind + name }

// IDKey is the lock of a set by its id, or of an operation that has no set: of two
// sets one after the other may have the same name.
func IDKey(id string) string { return idKind + id }

// lockFile is one file to lock, and how.
type lockFile struct {
	key, name string
	shared    bool
}

// lockFiles are the files of some keys in the order in which they are taken:
// those of the host, which is where all processes meet, whatever their state
// directory; then those of the state directory, where the previous release, which
// may still run, has its own.
func (d Dir) lockFiles(keys []string) (files []lockFile) {
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	own := path.Join(d.Path, locksDir)
	for _, dir := range []string{HostLocks, own} {
		for _, key := range keys {
			device, shared := strings.CutPrefix(key, beneathKind)
			switch {
			case key == MonitorKey && dir == HostLocks, shared && dir == own:
			case shared && slices.Contains(keys, originKind+device): // it has all of it
			case shared:
				files = append(files, lockFile{key, path.Join(dir, originKind+device), true})
			default:
				files = append(files, lockFile{key, path.Join(dir, key), false})
			}
		}
	}
	return files
}

// Lock takes all locks or none, without waiting, so that two operations on
// overlapping sets cannot wait for each other.
func (d Dir) Lock(pid int, keys ...string) (*Locks, error) {
	return d.LockHostFirst(pid, func() error { return nil }, keys...)
}

// LockHostFirst is Lock for a caller that has to act before anything is written below the
// state directory, which may lie on what is frozen: act is called once the host's
// locks are held. No process of this release is at any of the keys then.
func (d Dir) LockHostFirst(pid int, act func() error, keys ...string) (*Locks, error) {
	l := &Locks{dir: d}
	files := d.lockFiles(keys)
	own := slices.IndexFunc(files, func(f lockFile) bool { return !f.onHost() })
	if own < 0 {
		own = len(files)
	}
	err := l.take(pid, files[:own])
	if err == nil {
		err = act()
	}
	if err == nil {
		err = l.take(pid, files[own:])
	}
	if err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return l, nil
}

func (l *Locks) take(pid int, files []lockFile) error {
	for _, file := range files {
		f, err := l.dir.lock(file, pid)
		if _, held := errors.AsType[*LockedError](err); err != nil && !held {
			err = l.dir.wrapLock(file, err)
		}
		if err != nil {
			return err
		}
		l.taken = append(l.taken, takenLock{file, f})
	}
	return nil
}

// LockWithin tries Lock again until the limit is over. It
// holds nothing while it waits, so that no two operations wait for each other.
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

// Have tells whether all of some locks are held, by themselves or by ones that
// include them.
func (l *Locks) Have(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool {
		device, beneath := strings.CutPrefix(key, beneathKind)
		return !slices.ContainsFunc(l.taken, func(h takenLock) bool {
			return h.key == key || beneath && h.key == originKind+device
		})
	})
}

// Owner returns the process that has one of the locks for itself, nil if there is
// none. It makes no file and keeps no lock, so it works on a frozen filesystem.
// Processes that share a lock do not count.
func (d Dir) Owner(keys ...string) (*LockedError, error) {
	for _, file := range d.lockFiles(keys) {
		f, err := d.Kernel.Open(file.name, unix.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = f.Lock(unix.LOCK_SH | unix.LOCK_NB)
		cerr := f.Close() // with the lock, before anything is read that may have to wait
		if errors.Is(err, unix.EWOULDBLOCK) {
			return d.locked(file), cerr
		}
		if err := errors.Join(err, cerr); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// Unlock unlocks all of them, the last one first.
func (l *Locks) Unlock() error {
	var errs []error
	for _, h := range slices.Backward(l.taken) {
		errs = append(errs, l.dir.unlock(h))
	}
	l.taken = nil
	return errors.Join(errs...)
}
