package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/targets"
)

// BootID tells one boot from the next: transient sets do not outlive one.
func (r *Reader) BootID() (string, error) {
	b, err := r.Kernel.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// Uptime is the time since boot.
func (r *Reader) Uptime() (time.Duration, error) {
	b, err := r.Kernel.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	seconds, _, _ := strings.Cut(string(b), " ")
	return time.ParseDuration(seconds + "s")
}

// StartOf tells a process from a later one with its id; "" if there is none.
func (r *Reader) StartOf(pid int) (string, error) {
	b, err := r.Kernel.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	// After the name, which may hold anything: field 3 is the first (proc(5)).
	const starttime = 22 - 3
	fields := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
	if len(fields) <= starttime || fields[0] == "Z" {
		return "", nil
	}
	return fields[starttime], nil
}

// Swaps tells whether the kernel swaps to a device.
func (r *Reader) Swaps(d targets.DevNo) bool {
	text, err := r.Kernel.ReadFile("/proc/swaps")
	if err != nil {
		return false // a kernel without swap
	}
	for line := range strings.Lines(string(text)) {
		name := strings.Fields(line)[0]
		if st, err := r.Kernel.Stat(name); err == nil && st.Is(unix.S_IFBLK) && st.Rdev == d {
			return true
		}
	}
	return false
}

// TryClaim claims a device exclusively and lets it go at once: EBUSY if it is mounted,
// swapped to or built on. It opens for reading only, since closing a descriptor for
// writing makes udev look at the device again.
func (r *Reader) TryClaim(node string) error {
	file, err := r.Kernel.Open(node, unix.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	return file.Close()
}
