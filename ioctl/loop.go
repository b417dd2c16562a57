package ioctl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Request numbers of include/uapi/linux/loop.h.
const (
	reqLoopGetFree   uint32 = 0x4c82 // LOOP_CTL_GET_FREE
	reqLoopConfigure uint32 = 0x4c0a // LOOP_CONFIGURE
	reqLoopClear     uint32 = 0x4c01 // LOOP_CLR_FD
	reqLoopStatus    uint32 = 0x4c05 // LOOP_GET_STATUS64
)

// Sizes and places of struct loop_config and struct loop_info64.
const (
	loopConfigSize = 304
	loopInfoSize   = 232
	loopInfoAt     = 8  // in loop_config
	loopOffsetAt   = 24 // in loop_info64
	loopFlagsAt    = 52
	loopNameAt     = 56
	loopNameSize   = 64
)

// LoopFlags are LO_FLAGS_* of include/uapi/linux/loop.h.
type LoopFlags uint32

// Flags of loop devices.
const (
	LoopReadOnly  LoopFlags = 1
	LoopAutoclear LoopFlags = 4  // the device lets its file go at the last close
	LoopDirectIO  LoopFlags = 16 // past the page cache of the file
)

// loopTries bounds how often another process may take the number first.
const loopTries = 64

// AttachLoop makes a loop device over a file that is open for reading and
// writing, and returns it open. With LoopAutoclear it is gone when this
// descriptor, and whatever opened the device meanwhile, is closed. The kernel
// drops LoopDirectIO without an error where it cannot have it: ask LoopFlags.
// BlockSize is the logical block size in bytes. Kernel 5.8 and later.
func (k *Kernel) AttachLoop(backing *File, blockSize uint32, flags LoopFlags) (*File, error) {
	return k.configureLoop(backing, loopConfig(backing, blockSize, 0, flags, backing.path))
}

// PinFile makes a loop device of no size over a file, which may be open for
// reading only: the kernel then refuses to unmount its filesystem and to make a new one
// on its device, until DetachLoop. The device has nothing to read, for udev's scanners
// either, and no process has to keep it open. Mark is what LoopMark will say, at most 63 bytes. The file
// must not grow. Kernel 5.8 and later.
func (k *Kernel) PinFile(backing *File, mark string) error {
	st, err := backing.Stat()
	if err != nil {
		return err
	}
	loop, err := k.configureLoop(backing, loopConfig(backing, 512, uint64(st.Size+511)/512*512, LoopReadOnly, mark))
	if err != nil {
		return err
	}
	return loop.Close()
}

func loopConfig(backing *File, blockSize uint32, offset uint64, flags LoopFlags, name string) []byte {
	b := make([]byte, loopConfigSize)
	native.PutUint32(b[0:], uint32(backing.fd))
	native.PutUint32(b[4:], blockSize)
	info := b[loopInfoAt : loopInfoAt+loopInfoSize]
	native.PutUint64(info[loopOffsetAt:], offset)
	native.PutUint32(info[loopFlagsAt:], uint32(flags))
	copy(info[loopNameAt:loopNameAt+loopNameSize-1], name)
	return b
}

// configureLoop takes the next free number.
func (k *Kernel) configureLoop(backing *File, config []byte) (*File, error) {
	control, err := k.Open("/dev/loop-control", unix.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	var loop *File
	for range loopTries {
		loop, err = control.freeLoop(config)
		if err != unix.EBUSY {
			break
		}
	}
	if closing := control.closeAfter(wrap("attach a loop device to", backing.path, err)); closing != nil {
		if loop != nil {
			return nil, loop.closeAfter(closing)
		}
		return nil, closing
	}
	return loop, nil
}

// freeLoop tries one number. EBUSY: it was taken meanwhile.
func (f *File) freeLoop(config []byte) (*File, error) {
	n, err := f.k.t.IoctlInt(f.fd, reqLoopGetFree, 0)
	if err != nil {
		return nil, err
	}
	loop, err := f.k.Open(fmt.Sprintf("/dev/loop%d", n), unix.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.k.t.Ioctl(loop.fd, reqLoopConfigure, config); err != nil {
		return nil, loop.closeAfter(err)
	}
	return loop, nil
}

// LoopFlags are those the loop device really has. ENXIO: it has no file.
func (f *File) LoopFlags() (LoopFlags, error) {
	b := make([]byte, loopInfoSize)
	err := f.ioctl("status of", reqLoopStatus, b)
	return LoopFlags(native.Uint32(b[loopFlagsAt:])), err
}

// LoopMark is the name that the maker of a loop device gave its file. ENXIO: it
// has none.
func (f *File) LoopMark() (string, error) {
	b := make([]byte, loopInfoSize)
	err := f.ioctl("status of", reqLoopStatus, b)
	return unix.ByteSliceToString(b[loopNameAt : loopNameAt+loopNameSize]), err
}

// DetachLoop has the loop device close its file: at once, or when the last one that
// has the device open, this descriptor included, closes it. ENXIO: it has none.
func (f *File) DetachLoop() error {
	_, err := f.k.t.IoctlInt(f.fd, reqLoopClear, 0)
	return wrap("detach loop device", f.path, err)
}
