package ioctl

import (
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// Kernel is one kernel to talk to. It holds no descriptors and needs no closing.
// It is safe for concurrent use.
type Kernel struct{ t transport.Kernel }

// Host returns the kernel this process runs on.
func Host() *Kernel { return New(transport.Host{}) }

// New returns a kernel behind any transport. The type of its argument is
// internal: only package ioctltest can call it.
func New(t transport.Kernel) *Kernel { return &Kernel{t: t} }

// Release returns the release of uname(2), such as "6.1.0-32-amd64".
func (k *Kernel) Release() (string, error) {
	release, err := k.t.Uname()
	if err != nil {
		return "", wrap("uname", "", err)
	}
	return release, nil
}

// Geteuid returns the effective user id of this process.
func (k *Kernel) Geteuid() int { return k.t.Geteuid() }

// Alive reports whether a process with this id exists, a zombie included. Ids
// below 1 name groups of processes in kill(2) and are never alive here.
func (k *Kernel) Alive(pid int) bool {
	if pid < 1 {
		return false
	}
	err := k.t.Kill(pid, 0)
	return err == nil || err == unix.EPERM
}

// restart runs call again for as long as a signal interrupted it.
func restart(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
