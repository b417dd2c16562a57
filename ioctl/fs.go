package ioctl

import "golang.org/x/sys/unix"

// Request numbers of include/uapi/linux/fs.h. Those for inode flags have the size
// of long in them; the value always is an int.
const (
	reqFreeze   uint32 = 0xc0045877 // FIFREEZE
	reqThaw     uint32 = 0xc0045878 // FITHAW
	reqGetFlags uint32 = unix.FS_IOC_GETFLAGS
	reqSetFlags uint32 = unix.FS_IOC_SETFLAGS
)

// Freeze freezes the file system the file is on: whatever is dirty is written,
// new writers wait. It outlives the process. It blocks for as long as writing out
// takes. EBUSY: frozen already, by somebody else, whose freeze is not ours to
// thaw. EOPNOTSUPP: the file system cannot. Needs CAP_SYS_ADMIN.
func (f *File) Freeze() error {
	_, err := f.k.t.IoctlInt(f.fd, reqFreeze, 0)
	return wrap("freeze", f.path, err)
}

// Thaw ends a freeze. EINVAL: not frozen. It blocks while the device beneath is
// suspended: resume first.
func (f *File) Thaw() error {
	_, err := f.k.t.IoctlInt(f.fd, reqThaw, 0)
	return wrap("thaw", f.path, err)
}

// FlagImmutable is FS_IMMUTABLE_FL of include/uapi/linux/fs.h: the file cannot be
// written, truncated, renamed or removed.
const FlagImmutable = 0x10

// GetFlags returns the inode flags that chattr(1) shows. ENOTTY or EOPNOTSUPP: the
// file system has none.
func (f *File) GetFlags() (uint32, error) {
	var b [8]byte // a long by the request number, of which 4 bytes are used
	err := f.ioctl("get inode flags of", reqGetFlags, b[:])
	return native.Uint32(b[:]), err
}

// SetFlags replaces the inode flags: pass those of GetFlags with the change made.
// FlagImmutable needs CAP_LINUX_IMMUTABLE.
func (f *File) SetFlags(flags uint32) error {
	var b [8]byte
	native.PutUint32(b[:], flags)
	return f.ioctl("set inode flags of", reqSetFlags, b[:])
}
