package stack

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Process has a device open.
type Process struct {
	PID     int
	Command string
}

// Openers are the processes that have a device open, by any node. Those that
// cannot be looked into, because they just ended, are passed over.
func (r *Reader) Openers(dev targets.DevNo) []Process {
	return r.processes(func(dir string) bool {
		return r.anyFile(dir+"/fd", func(st ioctl.Stat) bool { return st.Is(unix.S_IFBLK) && st.Rdev == dev })
	})
}

// Users are the processes that have a file, their root or their working
// directory on the filesystem mounted from a device.
func (r *Reader) Users(dev targets.DevNo) []Process {
	on := func(st ioctl.Stat) bool { return st.Dev == dev && !st.Is(unix.S_IFBLK) }
	return r.processes(func(dir string) bool {
		for _, link := range []string{"/cwd", "/root"} {
			if st, err := r.Kernel.Stat(dir + link); err == nil && on(st) {
				return true
			}
		}
		return r.anyFile(dir+"/fd", on)
	})
}

func (r *Reader) processes(match func(dir string) bool) []Process {
	names, err := r.Kernel.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && match("/proc/"+name) {
			out = append(out, Process{PID: pid, Command: r.Command(pid)})
		}
	}
	return out
}

func (r *Reader) anyFile(dir string, match func(ioctl.Stat) bool) bool {
	fds, err := r.Kernel.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if st, err := r.Kernel.Stat(path.Join(dir, fd)); err == nil && match(st) {
			return true
		}
	}
	return false
}

// Command is a process's name, "" if it is gone.
func (r *Reader) Command(pid int) string {
	b, err := r.Kernel.ReadFile(path.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// HolderNames are the device-mapper or kernel names of the devices that stand
// directly on a device.
func (r *Reader) HolderNames(dev targets.DevNo) []string {
	devices, err := r.holderDevices(dev)
	if err != nil {
		return nil
	}
	out := make([]string, len(devices))
	for i, d := range devices {
		out[i] = path.Base(r.Node(d))
	}
	return out
}
