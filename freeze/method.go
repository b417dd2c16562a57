package freeze

import "strings"

// Method is how a filesystem is held still.
type Method uint8

const (
	// None: it cannot be held, or not from here. Its image may be torn. Suspend
	// with SKIP_LOCKFS.
	None Method = iota
	// Freeze: FIFREEZE through a mount point, and SKIP_LOCKFS at the suspend.
	Freeze
	// LockFS: the device-mapper freezes it when it suspends the front without
	// SKIP_LOCKFS. There is no proof for it.
	LockFS
)

// String is one word.
func (m Method) String() string {
	switch m {
	case Freeze:
		return "freeze"
	case LockFS:
		return "lockfs"
	}
	return "none"
}

// ability is what a type of filesystem can do.
type ability uint8

const (
	unknown ability = iota // to be tried
	freezes                // has freeze_fs, answers FIFREEZE
	generic                // block device, no freeze_fs: EOPNOTSUPP, only DM's lockfs
	cannot                 // served by a process: the kernel knows not what is dirty
)

// abilityOf knows the filesystems of Linux 6.1 to 7.2 that can live on a block
// device (struct super_operations of each, freeze_fs or freeze_super).
func abilityOf(fstype string) ability {
	switch fstype {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "gfs2", "reiserfs", "bcachefs":
		return freezes
	case "vfat", "msdos", "exfat", "ntfs", "ntfs3", "udf", "iso9660", "hfs", "hfsplus", "minix", "ufs",
		"affs", "sysv", "omfs", "hpfs", "squashfs", "erofs", "romfs", "cramfs":
		return generic
	}
	if fstype == "fuseblk" || fstype == "fuse" || strings.HasPrefix(fstype, "fuse.") || strings.HasPrefix(fstype, "fuseblk.") {
		return cannot
	}
	return unknown
}

// choose gives the method for a filesystem and the reason when it is None.
// direct: it is mounted on the very device that will be suspended, which is
// where lockfs looks for it.
func choose(fstype string, readOnly, direct bool) (Method, string) {
	switch abilityOf(fstype) {
	case freezes, unknown:
		return Freeze, ""
	case cannot:
		return None, fstype + " is served by a process; the kernel cannot freeze it"
	}
	return withoutFreeze(fstype, readOnly, direct)
}

// withoutFreeze is for filesystems that answer FIFREEZE with EOPNOTSUPP.
func withoutFreeze(fstype string, readOnly, direct bool) (Method, string) {
	switch {
	case direct:
		return LockFS, ""
	case readOnly:
		return None, fstype + " is mounted read-only; nothing to freeze"
	}
	return None, fstype + " can only be frozen by device-mapper, and is not directly on the suspended device"
}
