package ioctltest

import (
	"slices"

	"golang.org/x/sys/unix"
)

// FIFREEZE and FITHAW, include/uapi/linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// unfreezable filesystems have no freeze_fs method; the device-mapper freezes
// those with a block device all the same.
var unfreezable = []string{
	"vfat", "tmpfs", "overlay", "proc", "sysfs", "devtmpfs", "rootfs", "exfat", "ntfs3", "fuse", "iso9660", "squashfs", "nfs",
}

// freezeIoctl is FIFREEZE and FITHAW on any descriptor of a filesystem.
func (k *Kernel) freezeIoctl(f *file, request uint32) error {
	if k.euid != 0 {
		return unix.EPERM
	}
	sb := f.mnt.sb
	if request == fiFreeze {
		if slices.Contains(unfreezable, sb.fstype) {
			return unix.EOPNOTSUPP
		}
		return k.freezeSuper(sb, false)
	}
	if sb.frozen > 0 {
		if md := k.stuck(sb.bdev); md != nil {
			return k.hang("thaw of the filesystem on %s while %s is suspended", sb.source, md.name)
		}
	}
	return k.thawSuper(sb, false)
}

// freezeSuper takes a hold on a filesystem. Before 6.12 there is one hold at
// most; since then the device-mapper nests with the ioctl.
func (k *Kernel) freezeSuper(sb *superblock, nest bool) error {
	if sb.frozen > 0 {
		if nest && k.ver.atLeast(6, 12) {
			sb.frozen++
			return nil
		}
		return unix.EBUSY
	}
	if md := k.stuck(sb.bdev); md != nil && !sb.ro {
		return k.hang("freeze of the filesystem on %s while %s is suspended", sb.source, md.name)
	}
	sb.frozen = 1
	return nil
}

// thawSuper drops a hold. 6.12 reports a nested one as EINVAL although it
// dropped it.
func (k *Kernel) thawSuper(sb *superblock, nest bool) error {
	if sb.frozen == 0 {
		return unix.EINVAL
	}
	sb.frozen--
	if sb.frozen > 0 {
		if nest && k.ver.atLeast(7, 2) {
			return nil
		}
		return unix.EINVAL
	}
	k.dropSuper(sb)
	return nil
}

// freezeDevice is what a suspend with lockfs calls on the device: a counter
// first, the filesystem only when it goes from zero to one.
func (k *Kernel) freezeDevice(d *device) error {
	d.freezes++
	if d.freezes > 1 {
		return nil
	}
	sb := k.superOn(d)
	if sb == nil || sb.fstype == "btrfs" && !k.ver.atLeast(7, 2) {
		return nil
	}
	if err := k.freezeSuper(sb, true); err != nil {
		d.freezes--
		return err
	}
	d.frozenSB = sb
	return nil
}

// thawDevice leaks a count when the filesystem's thaw reports an error: the
// next suspend then does not freeze, and a mount finds the device busy.
func (k *Kernel) thawDevice(d *device) {
	if d.freezes == 0 {
		return
	}
	d.freezes--
	if d.freezes > 0 || d.frozenSB == nil {
		return
	}
	if err := k.thawSuper(d.frozenSB, true); err != nil {
		d.freezes++
		return
	}
	d.frozenSB = nil
}
