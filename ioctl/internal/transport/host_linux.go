package transport

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Host is the running kernel: each method is its system call and nothing more.
type Host struct{}

var _ Kernel = Host{}

// Open is open(2) with O_CLOEXEC, and O_LARGEFILE where there is such a thing.
func (Host) Open(path string, flags int, perm uint32) (int, error) {
	return unix.Open(path, flags|unix.O_CLOEXEC, perm)
}

// Close is close(2).
func (Host) Close(fd int) error { return unix.Close(fd) }

// Read is read(2).
func (Host) Read(fd int, b []byte) (int, error) { return unix.Read(fd, b) }

// Write is write(2).
func (Host) Write(fd int, b []byte) (int, error) { return unix.Write(fd, b) }

// Pread is pread64(2): the offset has 64 bits on every architecture.
func (Host) Pread(fd int, b []byte, off int64) (int, error) { return unix.Pread(fd, b, off) }

// Pwrite is pwrite64(2).
func (Host) Pwrite(fd int, b []byte, off int64) (int, error) { return unix.Pwrite(fd, b, off) }

// Ftruncate is ftruncate64(2).
func (Host) Ftruncate(fd int, size int64) error { return unix.Ftruncate(fd, size) }

// Fallocate is fallocate(2).
func (Host) Fallocate(fd int, mode uint32, off, length int64) error {
	return unix.Fallocate(fd, mode, off, length)
}

// Link is linkat(2) with AT_EMPTY_PATH.
func (Host) Link(fd int, path string) error {
	return unix.Linkat(fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH)
}

// Fsync is fsync(2).
func (Host) Fsync(fd int) error { return unix.Fsync(fd) }

// Syncfs is syncfs(2).
func (Host) Syncfs(fd int) error { return unix.Syncfs(fd) }

// Flock is flock(2).
func (Host) Flock(fd, how int) error { return unix.Flock(fd, how) }

// Ioctl is ioctl(2) with a pointer.
func (Host) Ioctl(fd int, request uint32, arg []byte) (int, error) {
	if len(arg) == 0 {
		return Host{}.IoctlInt(fd, request, 0)
	}
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&arg[0])))
	return result(r, errno)
}

// IoctlInt is ioctl(2) with a number.
func (Host) IoctlInt(fd int, request uint32, arg uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), arg)
	return result(r, errno)
}

// Poll is ppoll(2) on one descriptor. A hang-up or an error counts as ready, as
// the next call on the descriptor will not block.
func (Host) Poll(fd int, timeout time.Duration) (bool, error) {
	var limit *unix.Timespec
	if timeout >= 0 {
		ts := unix.NsecToTimespec(int64(min(timeout, maxTimeout)))
		limit = &ts
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds, limit, nil); err != nil {
		return false, err
	}
	if fds[0].Revents&unix.POLLNVAL != 0 {
		return false, unix.EBADF
	}
	return fds[0].Revents != 0, nil
}

// maxTimeout is what a 32-bit struct timespec can hold, less than 2^31 seconds.
const maxTimeout = 1 << 30 * time.Second

// Uname is the release of uname(2).
func (Host) Uname() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// Geteuid is geteuid(2).
func (Host) Geteuid() int { return unix.Geteuid() }

// Kill is kill(2).
func (Host) Kill(pid, signal int) error { return unix.Kill(pid, unix.Signal(signal)) }

// result turns the pair of a raw system call into Go's. Errno 0 must become a
// nil interface, and no other errno may allocate: all are below 256.
func result(r uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}
