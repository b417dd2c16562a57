package ioctltest

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Call is one system call as it arrived at the kernel.
type Call struct {
	N       int    // 1 for the first call of this kernel
	Op      string // "open", "ioctl", "pwrite", "semop", ...
	Path    string // the path argument, or the path the descriptor was opened with
	Request string // of an ioctl: "DM_DEV_SUSPEND", "DM_DEV_RESUME", "FIFREEZE", ...
	Name    string // the device-mapper device that the request names
}

// String is one line for logs and diffs.
func (c Call) String() string {
	s := fmt.Sprintf("%d %s", c.N, c.Op)
	for _, part := range []string{c.Request, c.Name, c.Path} {
		if part != "" {
			s += " " + part
		}
	}
	return s
}

// Fail installs a function that sees every call before it is carried out. An
// error makes the call fail with the errno inside it (EIO if there is none)
// and without any effect. The function may call the kernel's helpers. Nil
// removes it.
func (k *Kernel) Fail(f func(Call) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = f
}

// Log returns every call so far.
func (k *Kernel) Log() []Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.log)
}

// Calls returns how many calls were made so far.
func (k *Kernel) Calls() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.log)
}

// Hangs lists the calls that would have slept for ever, or crashed the
// kernel, on a real one. A correct program leaves it empty.
func (k *Kernel) Hangs() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.hangs)
}

// Interrupt makes every sleeping call return EINTR, as a signal does.
func (k *Kernel) Interrupt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.interrupts++
	k.wake.Broadcast()
}

// enter logs a call, lets the injected function refuse it and takes the lock.
// The function runs unlocked so that it can look at the kernel.
func (k *Kernel) enter(c Call) error {
	k.mu.Lock()
	c.N = len(k.log) + 1
	k.log = append(k.log, c)
	fail := k.fail
	k.mu.Unlock()
	if fail != nil {
		if err := fail(c); err != nil {
			return errno(err)
		}
	}
	k.mu.Lock()
	return nil
}

func (k *Kernel) leave() { k.mu.Unlock() }

// errno keeps the transport's promise that errors are plain errnos.
func errno(err error) error {
	var no unix.Errno
	if errors.As(err, &no) {
		return no
	}
	return unix.EIO
}

// hang notes a call that would never return.
func (k *Kernel) hang(format string, args ...any) error {
	k.hangs = append(k.hangs, fmt.Sprintf(format, args...))
	return unix.EDEADLK
}
