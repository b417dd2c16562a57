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
	fsGetXAttr = 0x801c581f
	immutable  = 0x10
	appendOnly = 0x20

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
	case fsGetXAttr:
		return nil
	case fiemapNr:
		return k.fiemap(f, arg)
	case getFSMap:
		return k.fsmap(f, arg)
	}
	return unix.ENOTTY
}

// fiemap reports where a file is; one that was never allocated gets its places
// now.
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
	if !f.n.holes {
		k.give(sb, f.n, 0, (f.n.size+pageSize-1)/pageSize*pageSize)
	}
	start, room := int64(binary.NativeEndian.Uint64(arg)), binary.NativeEndian.Uint32(arg[24:])
	n := uint32(0)
	for i, p := range f.n.places {
		if p.logical+p.length <= start {
			continue
		}
		if room > 0 {
			if n == room {
				break
			}
			if err := putExtent(arg, n, p, i == len(f.n.places)-1); err != nil {
				return err
			}
		}
		n++
	}
	put32(arg, 20, n)
	return nil
}

func putExtent(arg []byte, n uint32, p place, last bool) error {
	at := fiemapHeader + int(n)*fiemapExtent
	if len(arg) < at+fiemapExtent {
		return unix.EFAULT
	}
	e := arg[at : at+fiemapExtent]
	clear(e)
	binary.NativeEndian.PutUint64(e, uint64(p.logical))
	binary.NativeEndian.PutUint64(e[8:], uint64(p.physical))
	binary.NativeEndian.PutUint64(e[16:], uint64(p.length))
	if last {
		put32(e, 40, fiemapLast)
	}
	return nil
}
