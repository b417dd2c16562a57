package journal

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// HostLocks is where all dmsnap processes of a host meet. What they work on is the
// kernel's, so state directories do not matter; it is in memory, so that it is
// never on what is frozen, and gone after a reboot as the locks are.
const HostLocks = hostDir + "/dmsnap/lock"

const hostDir = "/run"

// LockDirError is a host on which locks cannot be kept.
type LockDirError struct{ Err error }

func (e *LockDirError) Error() string {
	return "lock directory " + HostLocks + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *LockDirError) Unwrap() error { return e.Err }

// errNotInMemory: locks there would not be those of the host, as in a container
// with a /run of its own, or on what may be frozen.
var errNotInMemory = errors.New("its filesystem is not in memory (tmpfs)")

// initHostLocks makes the directory, for root only: a process that can open a lock can
// block every operation.
func (d Dir) initHostLocks() error {
	if _, err := d.Kernel.Stat(hostDir); err != nil { // not ours to make
		return &LockDirError{err}
	}
	if err := d.Kernel.MkdirAll(HostLocks, 0o700); err != nil {
		return &LockDirError{err}
	}
	for _, dir := range []string{hostDir, path.Dir(HostLocks), HostLocks} {
		st, err := d.Kernel.Stat(dir)
		if err == nil {
			err = d.rootOnly(st)
		}
		if err != nil {
			return &LockDirError{fmt.Errorf("%s: %w", dir, err)}
		}
	}
	st, err := d.Kernel.Statfs(HostLocks)
	if err == nil && st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
		err = errNotInMemory
	}
	if err != nil {
		return &LockDirError{err}
	}
	return nil
}

// onHost tells a lock of the host from one of the state directory.
func (f lockFile) onHost() bool { return strings.HasPrefix(f.name, HostLocks+"/") }

// wrapLock says which of the two directories a lock could not be taken in.
func (d Dir) wrapLock(file lockFile, err error) error {
	if file.onHost() {
		return &LockDirError{err}
	}
	return d.wrap(err)
}
