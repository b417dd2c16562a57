package ioctl

import "golang.org/x/sys/unix"

// Request numbers of include/uapi/linux/fs.h. Those for inode flags have the size
// of long in them; the value always is an int.
const (
	reqFreeze   uint32 = 0xc0045877 // FIFREEZE
	reqThaw     uint32 = 0xc0045878 // FITHAW
	reqGetFlags uint32 = unix.FS_IOC_GETFLAGS
	reqSetFlags uint32 = unix.FS_IOC_SETFLAGS
	reqGetXAttr uint32 = 0x801c581f // FS_IOC_FSGETXATTR, struct fsxattr
)

// Freeze freezes the file system the file is on: whatever is dirty is written,
// new writers wait. It outlives the process. It blocks for as long as writing out
// takes. EBUSY: frozen already, by another process, whose freeze is not ours to
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

// Inode flags of include/uapi/linux/fs.h.
const (
	FlagImmutable = 0x10 // FS_IMMUTABLE_FL: no writing, truncating, renaming, removing
	// FlagAppend is FS_APPEND_FL: as immutable, but for descriptors that are open
	// for writing already, and for appending.
	FlagAppend = 0x20
	FlagNoDump = 0x40       // FS_NODUMP_FL: backups leave it out
	FlagNoCOW  = 0x00800000 // FS_NOCOW_FL: btrfs writes it in place; for empty files only
)

// GetFlags returns the inode flags that chattr(1) shows. ENOTTY or EOPNOTSUPP: the
// file system has none.
func (f *File) GetFlags() (uint32, error) {
	var b [8]byte // a long by the request number, of which 4 bytes are used
	err := f.ioctl("get inode flags of", reqGetFlags, b[:])
	return native.Uint32(b[:]), err
}

// SetFlags replaces the inode flags: pass those of GetFlags with the change made.
// FlagImmutable and FlagAppend need CAP_LINUX_IMMUTABLE.
func (f *File) SetFlags(flags uint32) error {
	var b [8]byte
	native.PutUint32(b[:], flags)
	return f.ioctl("set inode flags of", reqSetFlags, b[:])
}

// Realtime reports whether the file's data lies on the realtime device of an xfs
// (FS_XFLAG_REALTIME of struct fsxattr): its extents are places on that one.
// ENOTTY or EOPNOTSUPP: the file system has no such flags.
func (f *File) Realtime() (bool, error) {
	var b [28]byte
	err := f.ioctl("get extended flags of", reqGetXAttr, b[:])
	return native.Uint32(b[:])&1 != 0, err
}
