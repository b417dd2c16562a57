package ioctl

import "golang.org/x/sys/unix"

// Request numbers of include/uapi/linux/fs.h. BLKGETSIZE64 has the size of size_t
// in it, so it differs between 32- and 64-bit machines; the answer always has 64
// bits.
const (
	reqGetSize64   uint32 = unix.BLKGETSIZE64
	reqLogicalSize uint32 = unix.BLKSSZGET
	reqPhysSize    uint32 = unix.BLKPBSZGET
	reqGetReadOnly uint32 = unix.BLKROGET
	reqFlushBuffer uint32 = unix.BLKFLSBUF
	reqDiscard     uint32 = unix.BLKDISCARD
	reqZeroOut     uint32 = unix.BLKZEROOUT
)

// BlockSize is the size of a block device in bytes. ENOTTY: not a block device.
func (f *File) BlockSize() (bytes uint64, err error) {
	var b [8]byte
	err = f.ioctl("size of", reqGetSize64, b[:])
	return native.Uint64(b[:]), err
}

// SectorSizes are the logical block size, the unit of all I/O, and the physical
// one, both in bytes.
func (f *File) SectorSizes() (logical, physical uint32, err error) {
	if logical, err = f.number("logical block size of", reqLogicalSize); err != nil {
		return 0, 0, err
	}
	physical, err = f.number("physical block size of", reqPhysSize)
	return logical, physical, err
}

// ReadOnly reports whether the block device refuses writes.
func (f *File) ReadOnly() (bool, error) {
	n, err := f.number("read-only state of", reqGetReadOnly)
	return n != 0, err
}

// Flush writes a block device's cache out and drops it. It takes as long as the
// disk needs, and needs CAP_SYS_ADMIN.
func (f *File) Flush() error {
	_, err := f.k.t.IoctlInt(f.fd, reqFlushBuffer, 0)
	return wrap("flush", f.path, err)
}

// Discard tells a block device that a range is not needed. Offset and length are
// bytes, multiples of the logical block size (else EINVAL); the descriptor must be
// open for writing. What the range reads as afterwards is not defined.
// EOPNOTSUPP: the device cannot.
func (f *File) Discard(off, length uint64) error {
	return f.byteRange("discard on", reqDiscard, off, length)
}

// ZeroOut makes a range of a block device read as zeros, by writing them if the
// device knows no better way. Units and descriptor as for Discard. It may block
// for long.
func (f *File) ZeroOut(off, length uint64) error {
	return f.byteRange("zero out on", reqZeroOut, off, length)
}

func (f *File) byteRange(op string, request uint32, off, length uint64) error {
	var b [16]byte
	native.PutUint64(b[0:], off)
	native.PutUint64(b[8:], length)
	return f.ioctl(op, request, b[:])
}

// number runs a request whose answer is an int.
func (f *File) number(op string, request uint32) (uint32, error) {
	var b [4]byte
	err := f.ioctl(op, request, b[:])
	return native.Uint32(b[:]), err
}

func (f *File) ioctl(op string, request uint32, b []byte) error {
	_, err := f.k.t.Ioctl(f.fd, request, b)
	return wrap(op, f.path, err)
}
