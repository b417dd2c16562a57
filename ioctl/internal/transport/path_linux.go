package transport

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Fstat is fstat(2).
func (Host) Fstat(fd int) (Stat, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return narrow(&st), err
}

// Stat is stat(2).
func (Host) Stat(path string) (Stat, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return narrow(&st), err
}

// Lstat is lstat(2).
func (Host) Lstat(path string) (Stat, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return narrow(&st), err
}

func narrow(st *unix.Stat_t) Stat {
	return Stat{Dev: st.Dev, Rdev: st.Rdev, Ino: st.Ino, Mode: st.Mode, UID: st.Uid, Size: st.Size}
}

// Statfs is statfs(2), statfs64(2) on 32-bit machines. The magic number is
// taken as 32 unsigned bits: f_type is signed on some machines, and btrfs's has
// the top bit set.
func (Host) Statfs(path string) (Statfs, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Statfs{}, err
	}
	return Statfs{
		Type:      int64(uint32(st.Type)),
		BlockSize: int64(st.Bsize),
		Blocks:    st.Blocks,
		Free:      st.Bfree,
		Avail:     st.Bavail,
	}, nil
}

// ReadDir is open(2), getdents64(2) until the end, and close(2).
func (Host) ReadDir(path string) ([]string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	names := []string{}
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// Readlink is readlink(2). A buffer that came back full is doubled, up to 64 KiB.
func (Host) Readlink(path string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlink(path, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
		if size >= 64<<10 {
			return "", unix.ENAMETOOLONG
		}
	}
}

// Mkdir is mkdir(2).
func (Host) Mkdir(path string, perm uint32) error { return unix.Mkdir(path, perm) }

// Mknod is mknod(2). The kernel takes 32 bits of device number, which
// unix.Mkdev leaves enough for every major below 4096.
func (Host) Mknod(path string, mode uint32, dev uint64) error {
	if dev > 1<<32-1 {
		return unix.EINVAL
	}
	return unix.Mknod(path, mode, int(uint32(dev)))
}

// Symlink is symlink(2).
func (Host) Symlink(target, path string) error { return unix.Symlink(target, path) }

// Chmod is chmod(2).
func (Host) Chmod(path string, perm uint32) error { return unix.Chmod(path, perm) }

// Rename is rename(2).
func (Host) Rename(from, to string) error { return unix.Rename(from, to) }

// Unlink is unlink(2).
func (Host) Unlink(path string) error { return unix.Unlink(path) }

// Rmdir is rmdir(2).
func (Host) Rmdir(path string) error { return unix.Rmdir(path) }

// Mount is mount(2).
func (Host) Mount(source, target, fstype string, flags uintptr, data string) error {
	return unix.Mount(source, target, fstype, flags, data)
}

// Unmount is umount2(2).
func (Host) Unmount(target string, flags int) error { return unix.Unmount(target, flags) }

// MountPrivate is fsopen(2), fsconfig(2) and fsmount(2).
func (Host) MountPrivate(fstype, source string, options []string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if source != "" {
		err = unix.FsconfigSetString(fs, "source", source)
	}
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	for _, o := range options {
		key, value, text := strings.Cut(o, "=")
		switch {
		case err != nil:
		case text:
			err = unix.FsconfigSetString(fs, key, value)
		default:
			err = unix.FsconfigSetFlag(fs, o)
		}
		if o == "ro" {
			attr |= unix.MOUNT_ATTR_RDONLY
		}
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
}
