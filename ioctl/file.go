package ioctl

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// File is an open descriptor on a file, a device or a directory. Reading and
// writing may be done from several goroutines; Close may not overlap with
// anything else. There is no finaliser: the caller closes what it opens.
type File struct {
	k    *Kernel
	fd   int
	path string
}

var (
	_ io.ReadWriteCloser = (*File)(nil)
	_ io.ReaderAt        = (*File)(nil)
	_ io.WriterAt        = (*File)(nil)
)

// Open is open(2) with unix.O_* flags; O_CLOEXEC is always added. It may block:
// on a FIFO, and with O_CREAT on a frozen file system. EINTR is retried.
func (k *Kernel) Open(path string, flags int, perm uint32) (*File, error) {
	var fd int
	err := restart(func() (err error) {
		fd, err = k.t.Open(path, flags, perm)
		return err
	})
	if err != nil {
		return nil, wrap("open", path, err)
	}
	return &File{k: k, fd: fd, path: path}, nil
}

// Received is a descriptor that another process opened and passed on. The File
// owns it from here on; path is for errors.
func (k *Kernel) Received(fd int, path string) *File { return &File{k: k, fd: fd, path: path} }

// Path is the path the file was opened by.
func (f *File) Path() string { return f.path }

// Fd is the descriptor, -1 once closed. It stays owned by f.
func (f *File) Fd() int { return f.fd }

// Close closes the descriptor. A second Close is harmless. After an error the
// descriptor is gone all the same, as Linux has it.
func (f *File) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return wrap("close", f.path, f.k.t.Close(fd))
}

// closeAfter closes a file that was only needed for what ended with err.
func (f *File) closeAfter(err error) error {
	if closing := f.Close(); err == nil {
		return closing
	}
	return err
}

// Read is one read(2): up to len(b) bytes at the file's position, io.EOF at the
// end. EINTR is retried.
func (f *File) Read(b []byte) (int, error) {
	n, err := retryCount(func() (int, error) { return f.k.t.Read(f.fd, b) })
	switch {
	case err != nil:
		return 0, wrap("read", f.path, err)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// ReadAt reads len(b) bytes at a byte offset, in as many pread(2) as it takes.
// Fewer come only with an error, io.EOF at the end of the file.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := retryCount(func() (int, error) { return f.k.t.Pread(f.fd, b[done:], off+int64(done)) })
		if err != nil {
			return done, wrap("read", f.path, err)
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// Write writes all of b at the file's position, in as many write(2) as it takes.
func (f *File) Write(b []byte) (int, error) {
	return f.writeAll(b, func(rest []byte, _ int) (int, error) { return f.k.t.Write(f.fd, rest) })
}

// WriteAt writes all of b at a byte offset, in as many pwrite(2) as it takes. On
// a file opened with O_APPEND Linux ignores the offset.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	return f.writeAll(b, func(rest []byte, done int) (int, error) {
		return f.k.t.Pwrite(f.fd, rest, off+int64(done))
	})
}

func (f *File) writeAll(b []byte, write func(rest []byte, done int) (int, error)) (int, error) {
	done := 0
	for done < len(b) {
		n, err := retryCount(func() (int, error) { return write(b[done:], done) })
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return done, wrap("write", f.path, err)
		}
		done += n
	}
	return done, nil
}

// Truncate sets the size in bytes. It blocks on a frozen file system.
func (f *File) Truncate(size int64) error {
	return wrap("truncate", f.path, restart(func() error { return f.k.t.Ftruncate(f.fd, size) }))
}

// Allocate is fallocate(2): it gives a range of bytes its blocks, and the file
// the size to hold them. What was not written reads as zeros. ENOSPC changes
// nothing but may leave blocks; EOPNOTSUPP: the file system cannot. EINTR is
// retried.
func (f *File) Allocate(off, length int64) error {
	return wrap("allocate", f.path, restart(func() error { return f.k.t.Fallocate(f.fd, 0, off, length) }))
}

// Punch gives the blocks of a range of bytes back and leaves a hole in the file, which
// keeps its size. EOPNOTSUPP: the file system cannot. EINTR is retried.
func (f *File) Punch(off, length int64) error {
	return wrap("punch", f.path, restart(func() error {
		return f.k.t.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
	}))
}

// Link gives a file opened with unix.O_TMPFILE a name. EEXIST: it is taken.
func (f *File) Link(path string) error { return wrap("link", path, f.k.t.Link(f.fd, path)) }

// Self is a path of the open file itself, whatever has become of its name.
func (f *File) Self() string { return fmt.Sprintf("/proc/self/fd/%d", f.fd) }

// Chmod sets the permission bits, which at the making of a file the umask cuts.
func (f *File) Chmod(perm uint32) error {
	return wrap("change mode of", f.path, f.k.t.Chmod(f.Self(), perm))
}

// Sync is fsync(2): data and metadata of the file, or of the directory. EIO is
// reported once per descriptor and must not be retried.
func (f *File) Sync() error { return wrap("sync", f.path, f.k.t.Fsync(f.fd)) }

// SyncFS is syncfs(2): everything dirty on the file's file system. It takes as
// long as the disk needs.
func (f *File) SyncFS() error { return wrap("sync file system of", f.path, f.k.t.Syncfs(f.fd)) }

// Stat is fstat(2).
func (f *File) Stat() (Stat, error) {
	st, err := f.k.t.Fstat(f.fd)
	return newStat(st), wrap("stat", f.path, err)
}

// Lock is flock(2); how is unix.LOCK_EX, LOCK_SH or LOCK_UN, with LOCK_NB unless
// blocking is wanted. A lock held by another descriptor gives EWOULDBLOCK. EINTR
// surfaces.
func (f *File) Lock(how int) error { return wrap("lock", f.path, f.k.t.Flock(f.fd, how)) }

func retryCount(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}
