// Package transport is the seam between package ioctl and the kernel: every
// system call the project makes on devices, mounts, sysfs, procfs and its own
// state files goes through one Kernel. The real one is a thin table of system
// calls; ioctltest has one in memory. The package is internal so that the seam
// stays ours to change: embedders get it as an opaque *ioctl.Kernel.
package transport

import "time"

// Stat is the part of struct stat that the project looks at.
type Stat struct {
	Dev, Rdev uint64 // as encoded by unix.Mkdev
	Ino       uint64
	Mode      uint32 // type and permission bits as in st_mode
	UID       uint32
	Size      int64
}

// Statfs is the part of struct statfs that the project looks at.
type Statfs struct {
	Type                int64
	BlockSize           int64
	Blocks, Free, Avail uint64
}

// SemOp is one struct sembuf.
type SemOp struct {
	Num   uint16
	Op    int16
	Flags int16
}

// Kernel is one method per system call. Every method returns a plain
// unix.Errno (never wrapped) on failure and does not retry EINTR. Descriptors
// are opened close-on-exec.
type Kernel interface {
	Open(path string, flags int, perm uint32) (fd int, err error)
	Close(fd int) error
	Read(fd int, b []byte) (int, error)
	Write(fd int, b []byte) (int, error)
	Pread(fd int, b []byte, off int64) (int, error)
	Pwrite(fd int, b []byte, off int64) (int, error)
	Ftruncate(fd int, size int64) error
	Fallocate(fd int, mode uint32, off, length int64) error
	// Link is linkat of the descriptor itself (AT_EMPTY_PATH).
	Link(fd int, path string) error
	Fsync(fd int) error
	Syncfs(fd int) error
	Flock(fd, how int) error
	Fstat(fd int) (Stat, error)

	// Ioctl passes a pointer to arg[0], or 0 for an empty arg, and returns the
	// call's own result: some device-mapper kernels answer with a positive
	// number that is no error.
	Ioctl(fd int, request uint32, arg []byte) (ret int, err error)
	// IoctlInt passes a plain integer argument (FIFREEZE, LOOP_SET_FD).
	IoctlInt(fd int, request uint32, arg uintptr) (ret int, err error)
	// Poll waits for POLLIN on one descriptor; a negative timeout waits for ever.
	Poll(fd int, timeout time.Duration) (ready bool, err error)

	Stat(path string) (Stat, error)
	Lstat(path string) (Stat, error)
	Statfs(path string) (Statfs, error)
	ReadDir(path string) ([]string, error) // names in no order, without . and ..
	Readlink(path string) (string, error)
	Mkdir(path string, perm uint32) error
	Mknod(path string, mode uint32, dev uint64) error
	Symlink(target, path string) error
	Chmod(path string, perm uint32) error
	Rename(from, to string) error
	Unlink(path string) error
	Rmdir(path string) error
	Mount(source, target, fstype string, flags uintptr, data string) error
	Unmount(target string, flags int) error
	// MountPrivate is fsopen, fsconfig and fsmount: a mount without a place.
	MountPrivate(fstype, source string, options []string) (fd int, err error)

	Semget(key int32, n, flags int) (id int, err error)
	// Semop blocks at most timeout; a negative timeout waits for ever.
	Semop(id int, op SemOp, timeout time.Duration) error
	SemSetval(id, num, value int) error
	SemGetval(id, num int) (int, error)
	SemRemove(id int) error

	Uname() (release string, err error)
	Geteuid() int
	Kill(pid, signal int) error
}
