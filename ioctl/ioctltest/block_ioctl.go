package ioctltest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Block ioctl numbers, include/uapi/linux/fs.h.
const (
	blkROSet     = 0x125d
	blkROGet     = 0x125e
	blkGetSize   = 0x1260
	blkFlushBuf  = 0x1261
	blkRAGet     = 0x1263
	blkSSZGet    = 0x1268
	blkBSZGet    = 0x80081270
	blkGetSize64 = 0x80081272
	blkIOMin     = 0x1278
	blkIOOpt     = 0x1279
	blkDiscard   = 0x1277
	blkPBSZGet   = 0x127b
	blkZeroOut   = 0x127f
)

var requestNames = map[uint32]string{
	blkROSet: "BLKROSET", blkROGet: "BLKROGET", blkGetSize: "BLKGETSIZE", blkFlushBuf: "BLKFLSBUF",
	blkRAGet: "BLKRAGET", blkSSZGet: "BLKSSZGET", blkBSZGet: "BLKBSZGET", blkGetSize64: "BLKGETSIZE64",
	blkIOMin: "BLKIOMIN", blkIOOpt: "BLKIOOPT", blkDiscard: "BLKDISCARD", blkPBSZGet: "BLKPBSZGET", blkZeroOut: "BLKZEROOUT",
	fiFreeze: "FIFREEZE", fiThaw: "FITHAW", fsGetFlags: "FS_IOC_GETFLAGS", fsSetFlags: "FS_IOC_SETFLAGS", fiemapNr: "FS_IOC_FIEMAP", fsGetXAttr: "FS_IOC_FSGETXATTR", getFSMap: "FS_IOC_GETFSMAP",
	loopCtlGetFree: "LOOP_CTL_GET_FREE", loopConfigure: "LOOP_CONFIGURE", loopClrFD: "LOOP_CLR_FD", loopGetStatus: "LOOP_GET_STATUS64",
	loopSetDirectIO: "LOOP_SET_DIRECT_IO",
}

// blockIoctl answers the ioctls of a block device.
func (k *Kernel) blockIoctl(f *file, request uint32, arg []byte) error {
	d := f.dev
	put32 := func(v uint32) error { return put(arg, 4, uint64(v)) }
	switch request {
	case blkGetSize64:
		return put(arg, 8, d.size()*sectorSize)
	case blkGetSize:
		return put(arg, 8, d.size())
	case blkBSZGet:
		return put(arg, 8, uint64(d.logical))
	case blkSSZGet:
		return put32(d.logical)
	case blkPBSZGet, blkIOMin:
		return put32(d.physical)
	case blkIOOpt, blkRAGet:
		return put(arg, len(arg), 0)
	case blkROGet:
		if d.readOnly() {
			return put32(1)
		}
		return put32(0)
	case blkROSet:
		if len(arg) < 4 {
			return unix.EFAULT
		}
		d.ro = binary.NativeEndian.Uint32(arg) != 0
		return nil
	case blkFlushBuf:
		if md := k.stuck(d); md != nil {
			return k.hang("BLKFLSBUF on %s while %s is suspended", d.name, md.name)
		}
		return nil
	case blkDiscard, blkZeroOut:
		return k.zeroRange(f, request, arg)
	}
	if d.no.Major == loopMajor {
		return k.loopIoctl(d, request, arg)
	}
	return unix.ENOTTY
}

func (k *Kernel) zeroRange(f *file, request uint32, arg []byte) error {
	if !f.writable() {
		return unix.EBADF
	}
	if len(arg) < 16 {
		return unix.EFAULT
	}
	off, n := binary.NativeEndian.Uint64(arg), binary.NativeEndian.Uint64(arg[8:])
	lbs := uint64(f.dev.logical)
	if off%lbs != 0 || n%lbs != 0 || off+n > f.dev.size()*sectorSize || off+n < off {
		return unix.EINVAL
	}
	if request == blkDiscard && !f.dev.discards() {
		return unix.EOPNOTSUPP
	}
	zeros := make([]byte, 1<<20)
	for n > 0 {
		step := min(n, uint64(len(zeros)))
		if err := k.write(f.dev, off, zeros[:step]); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// discards tells whether a discard is passed on: snapshot-origin drops it.
func (d *device) discards() bool {
	if d.dm == nil || d.dm.live == nil {
		return true
	}
	for _, t := range d.dm.live.targets {
		if _, ok := t.impl.(*origin); ok {
			return false
		}
	}
	for _, use := range d.dm.live.uses {
		if !use.d.discards() {
			return false
		}
	}
	return true
}

func put(arg []byte, size int, v uint64) error {
	if len(arg) < size {
		return unix.EFAULT
	}
	if size == 8 {
		binary.NativeEndian.PutUint64(arg, v)
	} else if size >= 4 {
		binary.NativeEndian.PutUint32(arg, uint32(v))
	}
	return nil
}
