package stack

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/targets"
)

// Process has a device open.
type Process struct {
	PID     int
	Command string
}

// Openers are the processes that have a device open, by any node. It walks
// /proc; descriptors that cannot be read (a process that just ended) are
// passed over.
func (r *Reader) Openers(dev targets.DevNo) []Process {
	pids, err := r.Kernel.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []Process
	for _, name := range pids {
		pid, err := strconv.Atoi(name)
		if err == nil && r.hasOpen(pid, dev) {
			out = append(out, Process{PID: pid, Command: r.Command(pid)})
		}
	}
	return out
}

func (r *Reader) hasOpen(pid int, dev targets.DevNo) bool {
	dir := path.Join("/proc", strconv.Itoa(pid), "fd")
	fds, err := r.Kernel.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		st, err := r.Kernel.Stat(path.Join(dir, fd))
		if err == nil && st.Is(unix.S_IFBLK) && targets.DevNo(st.Rdev) == dev {
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
