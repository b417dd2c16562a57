package ioctltest

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// syscalls is the kernel as a transport: it logs, injects, locks and hands on.
type syscalls struct{ k *Kernel }

var _ transport.Kernel = (*syscalls)(nil)

// onPath runs a call that names a path.
func onPath[T any](s *syscalls, op, path string, f func() (T, error)) (T, error) {
	if err := s.k.enter(Call{Op: op, Path: path}); err != nil {
		var none T
		return none, err
	}
	defer s.k.leave()
	return f()
}

// onFile runs a call on a descriptor.
func onFile[T any](s *syscalls, op string, fd int, f func(*file) (T, error)) (T, error) {
	return onFileCall(s, Call{Op: op, Path: s.k.pathOf(fd)}, fd, f)
}

func onFileCall[T any](s *syscalls, c Call, fd int, f func(*file) (T, error)) (T, error) {
	var none T
	if err := s.k.enter(c); err != nil {
		return none, err
	}
	defer s.k.leave()
	file := s.k.fds[fd]
	if file == nil {
		return none, unix.EBADF
	}
	return f(file)
}

type void = struct{}

func (s *syscalls) path(op, path string, f func() error) error {
	_, err := onPath(s, op, path, func() (void, error) { return void{}, f() })
	return err
}

func (s *syscalls) file(op string, fd int, f func(*file) error) error {
	_, err := onFile(s, op, fd, func(fl *file) (void, error) { return void{}, f(fl) })
	return err
}

func (k *Kernel) pathOf(fd int) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.fds[fd]; f != nil {
		return f.path
	}
	return ""
}

func (s *syscalls) Open(path string, flags int, perm uint32) (int, error) {
	fd, err := onPath(s, "open", path, func() (int, error) { return s.k.open(path, flags, perm) })
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// Close frees the descriptor even when an error is injected, as Linux does.
func (s *syscalls) Close(fd int) error {
	err := s.k.enter(Call{Op: "close", Path: s.k.pathOf(fd)})
	if err != nil {
		s.k.mu.Lock()
	}
	defer s.k.leave()
	if closed := s.k.close(fd); err == nil {
		err = closed
	}
	return err
}

func (s *syscalls) Read(fd int, b []byte) (int, error) {
	return onFile(s, "read", fd, func(f *file) (int, error) {
		n, err := s.k.pread(f, b, f.pos)
		f.pos += int64(n)
		return n, err
	})
}

func (s *syscalls) Write(fd int, b []byte) (int, error) {
	return onFile(s, "write", fd, func(f *file) (int, error) {
		if f.flags&unix.O_APPEND != 0 {
			f.pos = f.n.size
		}
		n, err := s.k.pwrite(f, b, f.pos)
		f.pos += int64(n)
		return n, err
	})
}

func (s *syscalls) Pread(fd int, b []byte, off int64) (int, error) {
	return onFile(s, "pread", fd, func(f *file) (int, error) { return s.k.pread(f, b, off) })
}

func (s *syscalls) Pwrite(fd int, b []byte, off int64) (int, error) {
	return onFile(s, "pwrite", fd, func(f *file) (int, error) { return s.k.pwrite(f, b, off) })
}

func (s *syscalls) Ftruncate(fd int, size int64) error {
	return s.file("ftruncate", fd, func(f *file) error { return s.k.ftruncate(f, size) })
}

func (s *syscalls) Fallocate(fd int, mode uint32, off, length int64) error {
	return s.file("fallocate", fd, func(f *file) error { return s.k.fallocate(f, mode, off, length) })
}

func (s *syscalls) Link(fd int, path string) error {
	return s.file("link", fd, func(f *file) error { return s.k.link(f, path) })
}

func (s *syscalls) MountPrivate(fstype, source string, options []string) (int, error) {
	return onPath(s, "fsmount", source, func() (int, error) { return s.k.mountPrivate(fstype, source, options) })
}

func (s *syscalls) Fsync(fd int) error { return s.file("fsync", fd, s.k.fsync) }

func (s *syscalls) Syncfs(fd int) error {
	return s.file("syncfs", fd, func(f *file) error { return s.k.reachable(f.mnt, f.path) })
}

func (s *syscalls) Flock(fd, how int) error {
	return s.file("flock", fd, func(f *file) error { return s.k.flock(f, how) })
}

func (s *syscalls) Fstat(fd int) (transport.Stat, error) {
	return onFile(s, "fstat", fd, func(f *file) (transport.Stat, error) { return s.k.stat(spot{mnt: f.mnt, n: f.n}), nil })
}

func (s *syscalls) Ioctl(fd int, request uint32, arg []byte) (int, error) {
	return onFileCall(s, s.k.describe(fd, request, arg), fd, func(f *file) (int, error) { return s.k.ioctl(f, request, arg) })
}

func (s *syscalls) IoctlInt(fd int, request uint32, arg uintptr) (int, error) {
	return onFileCall(s, s.k.describe(fd, request, nil), fd, func(f *file) (int, error) { return s.k.ioctlInt(f, request, arg) })
}

func (s *syscalls) Poll(fd int, timeout time.Duration) (bool, error) {
	return onFile(s, "poll", fd, func(f *file) (bool, error) { return s.k.poll(f, timeout) })
}

func (s *syscalls) Stat(path string) (transport.Stat, error) { return s.statAt("stat", path, true) }

func (s *syscalls) Lstat(path string) (transport.Stat, error) { return s.statAt("lstat", path, false) }

func (s *syscalls) statAt(op, path string, follow bool) (transport.Stat, error) {
	return onPath(s, op, path, func() (transport.Stat, error) {
		w, err := s.k.walk(path, follow)
		if err != nil {
			return transport.Stat{}, err
		}
		return s.k.stat(w.at), nil
	})
}

func (s *syscalls) Statfs(path string) (transport.Statfs, error) {
	return onPath(s, "statfs", path, func() (transport.Statfs, error) {
		w, err := s.k.walk(path, true)
		if err != nil {
			return transport.Statfs{}, err
		}
		return s.k.statfs(w.at), nil
	})
}

func (s *syscalls) ReadDir(path string) ([]string, error) {
	return onPath(s, "readdir", path, func() ([]string, error) { return s.k.readDir(path) })
}

func (s *syscalls) Readlink(path string) (string, error) {
	return onPath(s, "readlink", path, func() (string, error) {
		w, err := s.k.walk(path, false)
		if err != nil {
			return "", err
		}
		if !w.at.n.is(unix.S_IFLNK) {
			return "", unix.EINVAL
		}
		return w.at.n.link, nil
	})
}

func (s *syscalls) Mkdir(path string, perm uint32) error {
	return s.path("mkdir", path, func() error {
		_, err := s.k.add(path, unix.S_IFDIR|perm&0o7777&^s.k.umask)
		return err
	})
}

func (s *syscalls) Mknod(path string, mode uint32, dev uint64) error {
	return s.path("mknod", path, func() error {
		n, err := s.k.add(path, mode)
		if err == nil {
			n.rdev = dev
		}
		return err
	})
}

func (s *syscalls) Symlink(target, path string) error {
	return s.path("symlink", path, func() error {
		n, err := s.k.add(path, unix.S_IFLNK|0o777)
		if err == nil {
			n.link = target
		}
		return err
	})
}

func (s *syscalls) Chmod(path string, perm uint32) error {
	return s.path("chmod", path, func() error { return s.k.chmod(path, perm) })
}

func (s *syscalls) Rename(from, to string) error {
	return s.path("rename", to, func() error { return s.k.rename2(from, to) })
}

func (s *syscalls) Unlink(path string) error {
	return s.path("unlink", path, func() error { return s.k.remove(path, false) })
}

func (s *syscalls) Rmdir(path string) error {
	return s.path("rmdir", path, func() error { return s.k.remove(path, true) })
}

func (s *syscalls) Mount(source, target, fstype string, flags uintptr, data string) error {
	return s.path("mount", target, func() error { return s.k.mountCall(source, target, fstype, flags, data) })
}

func (s *syscalls) Unmount(target string, flags int) error {
	return s.path("umount", target, func() error { return s.k.umount(target, flags) })
}

func (s *syscalls) Semget(key int32, n, flags int) (int, error) {
	return onPath(s, "semget", "", func() (int, error) { return s.k.semget(key, n, flags) })
}

func (s *syscalls) Semop(id int, op transport.SemOp, timeout time.Duration) error {
	return s.path("semop", "", func() error { return s.k.semop(id, op, timeout) })
}

func (s *syscalls) SemSetval(id, num, value int) error {
	return s.path("semsetval", "", func() error { return s.k.semSetval(id, num, value) })
}

func (s *syscalls) SemGetval(id, num int) (int, error) {
	return onPath(s, "semgetval", "", func() (int, error) { return s.k.semGetval(id, num) })
}

func (s *syscalls) SemRemove(id int) error {
	return s.path("semremove", "", func() error { return s.k.semRemove(id) })
}

func (s *syscalls) Uname() (string, error) {
	return onPath(s, "uname", "", func() (string, error) { return s.k.opts.Release, nil })
}

func (s *syscalls) Geteuid() int {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	return s.k.euid
}

func (s *syscalls) Kill(pid, signal int) error {
	return s.path("kill", "", func() error {
		switch {
		case s.k.procs[pid] == nil:
			return unix.ESRCH
		case signal == int(unix.SIGKILL) && pid != s.k.pid:
			delete(s.k.procs, pid)
		}
		return nil
	})
}
