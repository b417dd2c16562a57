package ioctl

import "golang.org/x/sys/unix"

// windowNice is the priority lvm2 takes while it holds devices (activation/
// process_priority).
const windowNice = -18

// RaisePriority gives the calling thread, which must be locked to its goroutine, a high
// priority, and returns what gives it back the one it had. Without CAP_SYS_NICE
// nothing changes.
func RaisePriority() (calm func()) {
	const self = 0
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, self)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, self, windowNice) != nil {
		return func() {}
	}
	before := 20 - raw // the system call shifts nice values so that none is negative
	return func() { _ = unix.Setpriority(unix.PRIO_PROCESS, self, before) }
}
