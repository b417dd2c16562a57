package ioctltest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Numbers of include/uapi/linux/fs.h and fiemap.h.
const (
	fsGetFlags = 0x80086601
	fsSetFlags = 0x40086602
	fiemapNr   = 0xc020660b
	immutable  = 0x10

	fiemapHeader = 32
	fiemapExtent = 56
	fiemapLast   = 1
)

func (k *Kernel) fileIoctl(f *file, request uint32, arg []byte) error {
	switch request {
	case fsGetFlags:
		return put(arg, 4, uint64(f.n.attrs))
	case fsSetFlags:
		if len(arg) < 4 {
			return unix.EFAULT
		}
		if err := k.change(f.mnt, f.path); err != nil {
			return err
		}
		f.n.attrs = binary.NativeEndian.Uint32(arg)
		return nil
	case fiemapNr:
		return k.fiemap(f, arg)
	}
	return unix.ENOTTY
}

// fiemap reports one extent for the whole file. Files get their places from
// the end of the device downwards; the contents there are not the file's.
func (k *Kernel) fiemap(f *file, arg []byte) error {
	sb := f.mnt.sb
	if len(arg) < fiemapHeader {
		return unix.EFAULT
	}
	if sb.bdev == nil || !f.n.is(unix.S_IFREG) {
		return unix.EOPNOTSUPP
	}
	if binary.NativeEndian.Uint32(arg[16:])&^7 != 0 {
		return unix.EBADR
	}
	length := (f.n.size + pageSize - 1) / pageSize * pageSize
	if f.n.phys == 0 && length > 0 {
		sb.taken += length
		f.n.phys = int64(sb.bdev.size()*sectorSize)/pageSize*pageSize - sb.taken
	}
	start, room := int64(binary.NativeEndian.Uint64(arg)), binary.NativeEndian.Uint32(arg[24:])
	put32(arg, 20, 0)
	if length <= start {
		return nil
	}
	put32(arg, 20, 1)
	if room == 0 {
		return nil
	}
	if len(arg) < fiemapHeader+fiemapExtent {
		return unix.EFAULT
	}
	e := arg[fiemapHeader:]
	clear(e[:fiemapExtent])
	binary.NativeEndian.PutUint64(e[8:], uint64(f.n.phys))
	binary.NativeEndian.PutUint64(e[16:], uint64(length))
	put32(e, 40, fiemapLast)
	return nil
}
