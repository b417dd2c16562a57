package ioctltest

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// stat describes a node.
func (k *Kernel) stat(at spot) transport.Stat {
	n, dev := at.n, at.mnt.sb.dev
	st := transport.Stat{
		Dev: unix.Mkdev(dev.Major, dev.Minor), Rdev: n.rdev, Ino: n.ino, Mode: n.mode, UID: n.uid, Size: n.size,
	}
	if n.is(unix.S_IFLNK) {
		st.Size = int64(len(n.link))
	}
	return st
}

var fsMagic = map[string]int64{
	"btrfs": unix.BTRFS_SUPER_MAGIC, "ext4": unix.EXT4_SUPER_MAGIC, "overlay": unix.OVERLAYFS_SUPER_MAGIC, "proc": unix.PROC_SUPER_MAGIC,
	"sysfs": unix.SYSFS_MAGIC, "vfat": unix.MSDOS_SUPER_MAGIC, "xfs": unix.XFS_SUPER_MAGIC, "f2fs": unix.F2FS_SUPER_MAGIC,
}

func (k *Kernel) statfs(at spot) transport.Statfs {
	sb := at.mnt.sb
	magic := fsMagic[sb.fstype]
	if magic == 0 {
		magic = unix.TMPFS_MAGIC
	}
	blocks := uint64(1 << 18)
	if sb.bdev != nil {
		blocks = sb.bdev.size() * sectorSize / pageSize
	}
	avail := uint64(k.avail(sb)) / pageSize
	return transport.Statfs{Type: magic, BlockSize: pageSize, Blocks: blocks, Free: avail, Avail: avail}
}

func (k *Kernel) readDir(path string) ([]string, error) {
	w, err := k.walk(path, true)
	if err != nil {
		return nil, err
	}
	if !w.at.n.is(unix.S_IFDIR) {
		return nil, unix.ENOTDIR
	}
	return slices.Collect(maps.Keys(w.at.n.children())), nil
}

// add makes a new entry that must not exist.
func (k *Kernel) add(path string, mode uint32) (*node, error) {
	w, err := k.walk(path, false)
	if err == nil {
		return nil, unix.EEXIST
	}
	if err != unix.ENOENT || w.dir.n == nil {
		return nil, err
	}
	if w, err = k.create(w, mode); err != nil {
		return nil, err
	}
	return w.at.n, nil
}

func (k *Kernel) chmod(path string, perm uint32) error {
	w, err := k.walk(path, true)
	if err != nil {
		return err
	}
	if err := k.change(w.at.mnt, path); err != nil {
		return err
	}
	w.at.n.mode = w.at.n.mode&^0o7777 | perm&0o7777
	return nil
}

func (k *Kernel) rename2(from, to string) error {
	a, err := k.walk(from, false)
	if err != nil {
		return err
	}
	b, err := k.walk(to, false)
	switch {
	case err == unix.ENOENT && b.dir.n != nil:
	case err != nil:
		return err
	case b.at.n.is(unix.S_IFDIR) && len(b.at.n.kids) > 0:
		return unix.ENOTEMPTY
	case b.at.n.is(unix.S_IFDIR) != a.at.n.is(unix.S_IFDIR):
		if b.at.n.is(unix.S_IFDIR) {
			return unix.EISDIR
		}
		return unix.ENOTDIR
	case b.at.n.pinned():
		return unix.EPERM
	}
	if a.dir.mnt.sb != b.dir.mnt.sb {
		return unix.EXDEV
	}
	if a.dir.n.kids == nil || b.dir.n.kids == nil || a.at.n.pinned() {
		return unix.EPERM
	}
	if err := k.change(a.dir.mnt, from); err != nil {
		return err
	}
	delete(a.dir.n.kids, a.name)
	b.dir.n.kids[b.name] = a.at.n
	return nil
}

// remove is unlink and rmdir.
func (k *Kernel) remove(path string, dir bool) error {
	w, err := k.walk(path, false)
	if err != nil {
		return err
	}
	switch {
	case dir && !w.at.n.is(unix.S_IFDIR):
		return unix.ENOTDIR
	case dir && w.at.n == w.at.mnt.root:
		return unix.EBUSY
	case dir && len(w.at.n.children()) > 0:
		return unix.ENOTEMPTY
	case !dir && w.at.n.is(unix.S_IFDIR):
		return unix.EISDIR
	case w.dir.n.kids == nil || w.dir.n.list != nil || w.at.n.pinned():
		return unix.EPERM
	}
	if err := k.change(w.dir.mnt, path); err != nil {
		return err
	}
	delete(w.dir.n.kids, w.name)
	return nil
}
