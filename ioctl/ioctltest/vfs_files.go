package ioctltest

import (
	"slices"

	"golang.org/x/sys/unix"
)

// file is an open file description. There is one descriptor for each.
type file struct {
	k     *Kernel
	path  string
	real  string // path without symbolic links
	mnt   *mount
	n     *node
	dev   *device // of a block device node
	flags int
	pos   int64
	text  []byte // of a generated file, rendered at open
	claim claimKind
	armed uint32 // global event number, of the control device
}

// Character devices of the misc major.
const (
	miscMajor        = 10
	controlMinor     = 236
	loopControlMinor = 237
)

func (f *file) writable() bool { return f.flags&unix.O_ACCMODE != unix.O_RDONLY }

func (f *file) isChar(major, minor uint32) bool {
	return f.n.is(unix.S_IFCHR) && f.n.rdev == unix.Mkdev(major, minor)
}

func (k *Kernel) open(path string, flags int, perm uint32) (int, error) {
	w, err := k.walk(path, flags&unix.O_NOFOLLOW == 0)
	switch {
	case err == nil && flags&unix.O_TMPFILE == unix.O_TMPFILE:
		f, err := k.nameless(w.at, flags, perm)
		if err != nil {
			return -1, err
		}
		return k.install(f), nil
	case err == unix.ENOENT && flags&unix.O_CREAT != 0 && w.dir.n != nil:
		if w, err = k.create(w, unix.S_IFREG|perm&0o777&^k.umask); err != nil {
			return -1, err
		}
		flags &^= unix.O_TRUNC
	case err != nil:
		return -1, err
	case flags&unix.O_CREAT != 0 && flags&unix.O_EXCL != 0:
		return -1, unix.EEXIST
	}
	f := &file{k: k, path: path, real: w.at.path, mnt: w.at.mnt, n: w.at.n, flags: flags, claim: claimKinds}
	if err := k.openNode(f); err != nil {
		return -1, err
	}
	return k.install(f), nil
}

// openNode does what the kind of file asks for.
func (k *Kernel) openNode(f *file) error {
	if f.flags&unix.O_PATH != 0 {
		return nil
	}
	if f.writable() && f.mnt.readOnly() && !f.n.is(unix.S_IFBLK) && !f.n.is(unix.S_IFCHR) {
		return unix.EROFS
	}
	switch f.n.mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return unix.ELOOP
	case unix.S_IFSOCK:
		return unix.ENXIO
	case unix.S_IFDIR:
		if f.writable() {
			return unix.EISDIR
		}
	case unix.S_IFBLK:
		return k.openBlock(f)
	case unix.S_IFCHR:
		f.armed = k.globalEvent
		if k.euid != 0 {
			return unix.EACCES
		}
	case unix.S_IFREG:
		return k.openRegular(f)
	}
	if f.flags&unix.O_DIRECTORY != 0 && !f.n.is(unix.S_IFDIR) {
		return unix.ENOTDIR
	}
	return nil
}

func (k *Kernel) openBlock(f *file) error {
	if k.euid != 0 {
		return unix.EACCES
	}
	f.dev = k.devices[fromRdev(f.n.rdev)]
	if f.flags&unix.O_EXCL != 0 {
		f.claim = claimOpen
	}
	return k.openDevice(f.dev, f.claim)
}

func (k *Kernel) openRegular(f *file) error {
	switch {
	case f.flags&unix.O_DIRECTORY != 0:
		return unix.ENOTDIR
	case f.n.text != nil:
		if f.writable() && f.n.set == nil {
			return unix.EACCES
		}
		f.text = []byte(f.n.text())
		return nil
	case f.writable() && f.n.attrs&immutable != 0, f.writable() && f.n.attrs&appendOnly != 0 && f.flags&unix.O_APPEND == 0:
		return unix.EPERM
	case f.flags&unix.O_TRUNC != 0 && f.writable():
		if err := k.change(f.mnt, f.path); err != nil {
			return err
		}
		f.n.data.truncate(0)
		f.n.size, f.n.places = 0, nil
		return nil
	}
	return k.reachable(f.mnt, f.path)
}

func (m *mount) readOnly() bool { return m.ro || m.sb.ro }

// change tells whether a filesystem takes a modification now.
func (k *Kernel) change(m *mount, path string) error {
	if m.readOnly() {
		return unix.EROFS
	}
	if m.sb.frozen > 0 {
		return k.hang("change of %s on the frozen filesystem at %s", path, m.at)
	}
	return k.reachable(m, path)
}

// reachable catches every use of a file whose device is suspended: what is in
// the page cache today may be gone tomorrow.
func (k *Kernel) reachable(m *mount, path string) error {
	if md := k.stuck(m.sb.bdev); md != nil {
		return k.hang("access to %s while %s beneath it is suspended", path, md.name)
	}
	return nil
}

// create makes a new entry where a walk found none.
func (k *Kernel) create(w walked, mode uint32) (walked, error) {
	if w.dir.n.kids == nil || w.dir.n.list != nil {
		return w, unix.EPERM
	}
	if err := k.change(w.dir.mnt, join(w.dir.path, w.name)); err != nil {
		return w, err
	}
	n := k.newNode(mode)
	w.dir.n.kids[w.name] = n
	w.at = spot{mnt: w.dir.mnt, n: n, path: join(w.dir.path, w.name)}
	return w, nil
}

func (k *Kernel) close(fd int) error {
	f := k.fds[fd]
	if f == nil {
		return unix.EBADF
	}
	delete(k.fds, fd)
	f.n.locks = slices.DeleteFunc(f.n.locks, func(o *file) bool { return o == f })
	if f.dev != nil {
		if f.claim != claimKinds {
			f.dev.unclaim(f.claim)
		}
		k.closeDevice(f.dev)
	}
	if sb := f.mnt.sb; sb.bdev != nil && len(f.mnt.ns.mounts) == 0 {
		k.dropSuper(sb) // of a mount without a place
	}
	return nil
}

func (k *Kernel) pread(f *file, b []byte, off int64) (int, error) {
	switch {
	case f.flags&unix.O_ACCMODE == unix.O_WRONLY:
		return 0, unix.EBADF
	case off < 0:
		return 0, unix.EINVAL
	case f.dev != nil:
		return k.readBlock(f, b, off)
	case f.n.is(unix.S_IFDIR):
		return 0, unix.EISDIR
	case f.n.text != nil:
		return copy(b, f.text[min(off, int64(len(f.text))):]), nil
	case !f.n.is(unix.S_IFREG):
		return 0, unix.EINVAL
	}
	if err := k.reachable(f.mnt, f.path); err != nil {
		return 0, err
	}
	n := max(0, min(int64(len(b)), f.n.size-off))
	f.n.data.read(off, b[:n])
	return int(n), nil
}

func (k *Kernel) readBlock(f *file, b []byte, off int64) (int, error) {
	size := int64(f.dev.size() * sectorSize)
	if err := f.aligned(b, off); err != nil {
		return 0, err
	}
	n := max(0, min(int64(len(b)), size-off))
	if n == 0 {
		return 0, nil
	}
	return int(n), k.read(f.dev, uint64(off), b[:n])
}

// aligned is the rule of O_DIRECT for offset and length; the address of the
// buffer is not looked at.
func (f *file) aligned(b []byte, off int64) error {
	if block := int64(f.dev.logical); f.flags&unix.O_DIRECT != 0 && (off%block != 0 || int64(len(b))%block != 0) {
		return unix.EINVAL
	}
	return nil
}

func (k *Kernel) pwrite(f *file, b []byte, off int64) (int, error) {
	switch {
	case !f.writable():
		return 0, unix.EBADF
	case off < 0:
		return 0, unix.EINVAL
	case f.dev != nil:
		return k.writeBlock(f, b, off)
	case f.n.text != nil:
		f.n.set(string(b))
		return len(b), nil
	case !f.n.is(unix.S_IFREG):
		return len(b), nil
	case f.n.attrs&immutable != 0:
		return 0, unix.EPERM // of ext4; others let descriptors go on that were open before
	}
	if err := k.change(f.mnt, f.path); err != nil {
		return 0, err
	}
	f.n.data.write(off, b)
	f.n.size = max(f.n.size, off+int64(len(b)))
	f.n.dirty = true
	return len(b), nil
}

func (k *Kernel) writeBlock(f *file, b []byte, off int64) (int, error) {
	size := int64(f.dev.size() * sectorSize)
	switch {
	case f.dev.readOnly():
		return 0, unix.EPERM
	case f.aligned(b, off) != nil:
		return 0, unix.EINVAL
	case len(b) == 0:
		return 0, nil
	case off >= size:
		return 0, unix.ENOSPC
	}
	n := min(int64(len(b)), size-off)
	return int(n), k.write(f.dev, uint64(off), b[:n])
}

func (k *Kernel) ftruncate(f *file, size int64) error {
	switch {
	case !f.writable() || !f.n.is(unix.S_IFREG) || size < 0 || f.n.text != nil:
		return unix.EINVAL
	case f.n.pinned():
		return unix.EPERM
	}
	if err := k.change(f.mnt, f.path); err != nil {
		return err
	}
	f.n.data.truncate(size)
	f.n.size = size
	f.n.places = cutPlaces(f.n.places, (size+pageSize-1)/pageSize*pageSize)
	return nil
}

// fsync of a clean file does not wait for a freeze, of a dirty one it does.
func (k *Kernel) fsync(f *file) error {
	if f.dev != nil {
		if md := k.stuck(f.dev); md != nil {
			return k.hang("fsync of %s while %s is suspended", f.path, md.name)
		}
		return nil
	}
	if f.n.dirty {
		if err := k.change(f.mnt, f.path); err != nil {
			return err
		}
		f.n.dirty = false
	}
	return k.reachable(f.mnt, f.path)
}

// flock has one owner, or several sharing, per inode. A call that would wait
// for another holder of this process fails, as nobody else will let go.
func (k *Kernel) flock(f *file, how int) error {
	others := slices.DeleteFunc(slices.Clone(f.n.locks), func(o *file) bool { return o == f })
	if how&^unix.LOCK_NB == unix.LOCK_UN {
		f.n.locks = others
		return nil
	}
	exclusive := how&unix.LOCK_EX != 0
	held := slices.ContainsFunc(others, func(*file) bool { return exclusive || f.n.lockEx })
	if held && how&unix.LOCK_NB != 0 {
		return unix.EWOULDBLOCK
	}
	if held {
		return k.hang("flock of %s, which another descriptor holds", f.path)
	}
	f.n.locks = append(others, f)
	f.n.lockEx = exclusive
	return nil
}
