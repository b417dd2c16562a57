package freeze

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// openMount opens the root of a mount and makes sure that it is that mount:
// another one may have come on top of it, or the path may be another's now.
func openMount(k *ioctl.Kernel, m Mount) (*ioctl.File, error) {
	file, err := openRoot(k, m)
	if err != nil {
		return nil, err
	}
	if err := verify(k, m, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// openRoot opens a directory, or the file if a single file is bound there. Any
// descriptor serves; a device node or a FIFO is never opened.
func openRoot(k *ioctl.Kernel, m Mount) (*ioctl.File, error) {
	file, err := k.Open(m.Reach, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOCTTY, 0)
	if !errors.Is(err, unix.ENOTDIR) {
		return file, err
	}
	st, err := k.Lstat(m.Reach)
	if err != nil {
		return nil, err
	}
	if !st.Is(unix.S_IFREG) {
		return nil, fmt.Errorf("%s is neither a directory nor a file", m.Reach)
	}
	return k.Open(m.Reach, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// verify compares what was opened with what mountinfo said: the number of the
// superblock, and the id of the mount where /proc tells it. Files of a btrfs
// subvolume have a number of their own, so only the id can tell there; without
// it the number must at least be anonymous.
func verify(k *ioctl.Kernel, m Mount, file *ioctl.File) error {
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if st.Dev != m.DevNo && !(m.FSType == "btrfs" && st.Dev.Major == 0) {
		return fmt.Errorf("%s is on %v now, not on %v", m.Reach, st.Dev, m.DevNo)
	}
	text, err := k.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(file.Fd()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if id, ok := mountID(string(text)); ok && id != m.ID {
		return fmt.Errorf("%s belongs to mount %d now, not to %d", m.Reach, id, m.ID)
	}
	return nil
}

// mountID finds the line "mnt_id:\t29" of fdinfo.
func mountID(fdinfo string) (int, bool) {
	for line := range strings.Lines(fdinfo) {
		if text, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			id, err := strconv.Atoi(strings.TrimSpace(text))
			return id, err == nil
		}
	}
	return 0, false
}
