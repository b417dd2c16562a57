// Package ioctl is the interface between dmsnap and the Linux kernel: device-mapper
// control, block and file system ioctls, udev cookies, and the few file and mount
// calls that go with them. It is the only package with unsafe and raw system
// calls. It decides nothing, keeps no state of its own and logs nothing.
//
// # One value opens everything
//
// A [Kernel] is the running kernel ([Host]) or one in memory (package ioctltest).
// Every access to a device, a mount, sysfs, procfs or a state file goes through it, so
// that a test can make any single system call fail.
//
// # Device-mapper
//
// [Control] holds one descriptor on /dev/mapper/control. Its methods are the
// verbs of include/uapi/linux/dm-ioctl.h, one ioctl each (more only when a reply
// did not fit). Every verb states the [Flags] it accepts; all others are refused
// with [ErrBadFlags] before the kernel sees them, because the kernel ignores and
// echoes flags it does not know. Kernel floor, unless a verb says otherwise:
// Linux 2.6.36 for the interface, 5.1 for package ioctl as a whole.
//
// A [Call] is a verb encoded beforehand for the time in which devices are
// suspended: running it allocates nothing.
//
// # Blocking, signals and contexts
//
// An ioctl in flight cannot be cancelled, so no method takes a context: check
// yours before each call. Methods that may block for long say so. EINTR is
// retried for calls that only read; it surfaces from suspend, resume and wait,
// which have then changed nothing. The Go runtime installs its handlers with
// SA_RESTART, so in practice the kernel restarts these calls by itself and only
// a stop (SIGSTOP, a debugger) or a foreign handler lets EINTR out.
//
// # Errors
//
// Failures are *[Error] around a [golang.org/x/sys/unix.Errno] or one of the
// sentinels of this package. Use errors.Is with the errno, with
// io/fs.ErrNotExist and the like, or with the sentinel.
//
// # Concurrency
//
// Kernel and Control may be used from several goroutines at once. A Call, a
// File and a Cookie state their own rules.
//
// It comes without a promise: dmsnap's own parts change as dmsnap needs it. Programs
// use package dm (docs/stability.md).
package ioctl
