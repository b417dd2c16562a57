package ioctl

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// Stat is the part of struct stat that matters here.
type Stat struct {
	Dev  DevNo  // of the file system the file is on
	Rdev DevNo  // of the device a device node stands for
	Ino  uint64 // inode number
	Mode uint32 // st_mode: unix.S_IFMT bits and permissions
	UID  uint32 // owner
	Size int64  // in bytes; 0 for devices
}

// Is reports whether the file is of one type: unix.S_IFBLK, S_IFDIR, S_IFREG...
func (s Stat) Is(typ uint32) bool { return s.Mode&unix.S_IFMT == typ }

func newStat(s transport.Stat) Stat {
	return Stat{Dev: DevNoOf(s.Dev), Rdev: DevNoOf(s.Rdev), Ino: s.Ino, Mode: s.Mode, UID: s.UID, Size: s.Size}
}

// Statfs is the part of struct statfs that matters here.
type Statfs struct {
	Type      int64  // magic number, include/uapi/linux/magic.h, never negative
	BlockSize int64  // bytes per block of the three counts
	Blocks    uint64 // in the file system
	Free      uint64 // not used
	Avail     uint64 // not used and not reserved for root
}

// Stat is stat(2), following symbolic links. An automount point may block it.
func (k *Kernel) Stat(path string) (Stat, error) {
	st, err := k.t.Stat(path)
	return newStat(st), wrap("stat", path, err)
}

// Lstat is lstat(2): a symbolic link is not followed.
func (k *Kernel) Lstat(path string) (Stat, error) {
	st, err := k.t.Lstat(path)
	return newStat(st), wrap("stat", path, err)
}

// Statfs is statfs(2) of the file system path is on.
func (k *Kernel) Statfs(path string) (Statfs, error) {
	var st transport.Statfs
	err := restart(func() (err error) {
		st, err = k.t.Statfs(path)
		return err
	})
	return Statfs(st), wrap("statfs", path, err)
}

// ReadDir returns the names in a directory, sorted, without "." and "..".
func (k *Kernel) ReadDir(path string) ([]string, error) {
	names, err := k.t.ReadDir(path)
	if err != nil {
		return nil, wrap("read directory", path, err)
	}
	slices.Sort(names)
	return names, nil
}

// Readlink returns what a symbolic link points to; EINVAL if it is none.
func (k *Kernel) Readlink(path string) (string, error) {
	target, err := k.t.Readlink(path)
	return target, wrap("read link", path, err)
}

// Mkdir makes one directory.
func (k *Kernel) Mkdir(path string, perm uint32) error {
	return wrap("make directory", path, k.t.Mkdir(path, perm))
}

// MkdirAll makes a directory and those above it. What is there already stays as
// it is; something that is not a directory gives ENOTDIR.
func (k *Kernel) MkdirAll(dir string, perm uint32) error {
	st, err := k.t.Stat(dir)
	switch {
	case err == nil && newStat(st).Is(unix.S_IFDIR):
		return nil
	case err == nil:
		return wrap("make directory", dir, unix.ENOTDIR)
	case err != unix.ENOENT:
		return wrap("make directory", dir, err)
	}
	if parent := path.Dir(path.Clean(dir)); parent != dir {
		if err := k.MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := k.t.Mkdir(dir, perm); err != nil && err != unix.EEXIST {
		return wrap("make directory", dir, err)
	}
	return nil
}

// Mknod makes a device node; mode is unix.S_IFBLK or S_IFCHR with permissions,
// which the umask cuts.
func (k *Kernel) Mknod(path string, mode uint32, dev DevNo) error {
	return wrap("make node", path, k.t.Mknod(path, mode, dev.Rdev()))
}

// Symlink makes path a symbolic link to target.
func (k *Kernel) Symlink(target, path string) error {
	return wrap("make link", path, k.t.Symlink(target, path))
}

// Chmod sets the permission bits.
func (k *Kernel) Chmod(path string, perm uint32) error {
	return wrap("change mode of", path, k.t.Chmod(path, perm))
}

// Rename is rename(2); it replaces to.
func (k *Kernel) Rename(from, to string) error {
	return wrap("rename", from, k.t.Rename(from, to))
}

// Unlink removes a name that is not a directory.
func (k *Kernel) Unlink(path string) error { return wrap("remove", path, k.t.Unlink(path)) }

// Rmdir removes an empty directory.
func (k *Kernel) Rmdir(path string) error { return wrap("remove directory", path, k.t.Rmdir(path)) }

// Mount is mount(2) with unix.MS_* flags. It reads from the device, and hangs
// while that is suspended; a file system frozen through its device gives EBUSY.
func (k *Kernel) Mount(source, target, fstype string, flags uintptr, data string) error {
	return wrap("mount", target, k.t.Mount(source, target, fstype, flags, data))
}

// Unmount is umount2(2) with unix.MNT_* flags.
func (k *Kernel) Unmount(target string, flags int) error {
	return wrap("unmount", target, k.t.Unmount(target, flags))
}

// MountPrivate mounts a file system nowhere: it is reached through the descriptor
// only, and gone when that and all files in it are closed. Source is the path of
// its device, or empty if it has none; options are such as "ro" and
// "errors=continue". Kernel 5.2 and later; EPERM without CAP_SYS_ADMIN.
func (k *Kernel) MountPrivate(fstype, source string, options ...string) (*File, error) {
	fd, err := k.t.MountPrivate(fstype, source, options)
	if err != nil {
		return nil, wrap("mount", cmp.Or(source, fstype), err)
	}
	return &File{k: k, fd: fd, path: fmt.Sprintf("/proc/self/fd/%d", fd)}, nil
}

// ReadFile reads a whole file, of procfs and sysfs too, where sizes lie.
func (k *Kernel) ReadFile(path string) ([]byte, error) {
	f, err := k.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, f.closeAfter(err)
}

// WriteFile makes or empties a file, writes b, and returns after fsync and
// close. It is not atomic: write beside and rename, then call SyncDir. It works on
// sysfs too; files of procfs have no fsync and answer EINVAL.
func (k *Kernel) WriteFile(path string, b []byte, perm uint32) error {
	f, err := k.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return f.closeAfter(err)
}

// SyncDir makes the names in a directory durable.
func (k *Kernel) SyncDir(path string) error {
	f, err := k.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return f.closeAfter(f.Sync())
}
