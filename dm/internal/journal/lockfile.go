package journal

import (
	"errors"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

const (
	// lockTries bounds the races lost in a row.
	lockTries = 1000
	// lookTries bounds the waits for a process that only looks, as Owner does, or that
	// removes a file that was shared, and is done at once.
	lookTries = 50
)

// lock takes one. The owner unlinks the file before it unlocks, so a lock on a
// file that is no longer the one at the path is worth nothing: try again.
func (d Dir) lock(file lockFile, pid int) (*ioctl.File, error) {
	how, looks := unix.LOCK_EX, 0
	if file.shared {
		how = unix.LOCK_SH
	}
	for range lockTries {
		f, err := d.Kernel.Open(file.name, unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			return nil, err
		}
		err = f.Lock(how | unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) && looks < lookTries && (file.shared || f.Lock(unix.LOCK_SH|unix.LOCK_NB) == nil) {
			if err := f.Close(); err != nil {
				return nil, err
			}
			looks++
			time.Sleep(time.Millisecond)
			continue
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(d.locked(file), f.Close())
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if d.current(f, file.name) {
			_, err = f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
			if err != nil {
				return nil, errors.Join(err, d.unlock(takenLock{file, f}))
			}
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return nil, d.locked(file)
}

func (d Dir) current(f *ioctl.File, name string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := d.Kernel.Stat(name)
	return err == nil && mine.Dev == there.Dev && mine.Ino == there.Ino
}

// locked names what is locked, and the process that has it.
func (d Dir) locked(file lockFile) *LockedError {
	return &LockedError{Key: file.key, What: d.what(file.key), PID: d.ownerPID(file.name)}
}

// what is the thing that a key stands for, as users know it.
func (d Dir) what(key string) string {
	if name, ok := strings.CutPrefix(key, setKind); ok {
		return "set " + name
	}
	if id, ok := strings.CutPrefix(key, idKind); ok {
		return "uuid " + id
	}
	kind, number, ok := strings.Cut(key, "-")
	if !ok || kind+"-" != originKind && kind+"-" != beneathKind {
		return key
	}
	number = strings.ReplaceAll(number, "_", ":")
	if b, err := d.Kernel.ReadFile("/sys/dev/block/" + number + "/dm/name"); err == nil {
		return "/dev/mapper/" + strings.TrimSpace(string(b))
	}
	if link, err := d.Kernel.Readlink("/sys/dev/block/" + number); err == nil {
		return "/dev/" + path.Base(link)
	}
	return "device " + number
}

func (d Dir) ownerPID(name string) int {
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

// unlock lets go. A file that others share stays: on a new one in its place somebody
// might become the owner beside them.
func (d Dir) unlock(h takenLock) error {
	if h.shared && (h.open.Lock(unix.LOCK_EX|unix.LOCK_NB) != nil || !d.current(h.open, h.name)) {
		return h.open.Close()
	}
	return errors.Join(d.drop(h.name), h.open.Close())
}
