package ioctltest

import (
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func freezeCases() []conformanceCase {
	return []conformanceCase{
		{"freeze twice", confFreezeTwice},
		{"freeze of what cannot", confUnfreezable},
		{"freeze on a suspended device", confFreezeSuspended},
		{"suspend on a frozen filesystem", confSuspendFrozen},
		{"freeze, suspend without lockfs, resume, thaw", confGoodOrder},
		{"leak of a freeze", confLeak},
		{"mount of a suspended device", confMountFrozen},
		{"unmount of a frozen filesystem", confUmountFrozen},
		{"swap on a frozen filesystem", confSwapFrozen},
	}
}

// mounted puts a linear device over the mountable one and mounts it.
func (b *bench) mounted(id string) (no ioctl.DevNo, dir *ioctl.File) {
	b.Helper()
	size := b.sectors(b.env.Mountable)
	no = b.live(id, spec(size, "linear", b.number(b.env.Mountable), 0)).Dev
	b.ok(b.k.Mount(dmNode(no), b.env.Dir, "ext4", 0, ""))
	b.Cleanup(func() { _ = b.k.Unmount(b.env.Dir, unix.MNT_DETACH) })
	dir = b.open(b.env.Dir, unix.O_RDONLY|unix.O_DIRECTORY)
	return no, dir
}

// unmount ends what mounted began.
func (b *bench) unmount(dir *ioctl.File) {
	b.Helper()
	b.ok(dir.Close())
	b.ok(b.k.Unmount(b.env.Dir, 0))
}

func confFreezeTwice(b *bench) {
	_, dir := b.mounted("fs")
	b.opens("opens by the mount", "fs", 1)
	b.want(unix.EINVAL, dir.Thaw())
	b.ok(dir.Freeze())
	b.want(unix.EBUSY, dir.Freeze())
	b.ok(dir.Thaw())
	b.want(unix.EINVAL, dir.Thaw())
	b.want(unix.EBUSY, b.k.Unmount(b.env.Dir, 0))
	b.unmount(dir)
	b.opens("opens", "fs", 0)
}

func confUnfreezable(b *bench) {
	b.want(unix.EOPNOTSUPP, b.open("/proc", unix.O_RDONLY).Freeze())
	b.ok(b.k.Mount("none", b.env.Dir, "tmpfs", 0, ""))
	dir := b.open(b.env.Dir, unix.O_RDONLY)
	b.want(unix.EOPNOTSUPP, dir.Freeze())
	b.unmount(dir)
}

func confFreezeSuspended(b *bench) {
	_, dir := b.mounted("fs")
	b.ok(b.suspend("fs"))
	b.want(unix.EBUSY, dir.Freeze())
	b.ok(b.resume("fs"))
	b.ok(dir.Freeze())
	b.ok(dir.Thaw())
	b.unmount(dir)
}

func confSuspendFrozen(b *bench) {
	_, dir := b.mounted("fs")
	b.ok(dir.Freeze())
	if b.ver.atLeast(6, 12) {
		b.ok(b.suspend("fs"))
		b.ok(b.resume("fs"))
	} else {
		b.want(unix.EBUSY, b.suspend("fs"))
	}
	same(b, "suspended", b.info("fs").Suspended, false)
	b.ok(dir.Thaw())
	b.unmount(dir)
}

func confGoodOrder(b *bench) {
	_, dir := b.mounted("fs")
	for range 2 {
		b.ok(dir.Freeze())
		_, err := b.c.Suspend(conf("fs"), ioctl.SkipLockFS)
		b.ok(err)
		b.ok(b.resume("fs"))
		b.ok(dir.Thaw())
	}
	b.ok(b.suspend("fs"))
	b.want(unix.EBUSY, dir.Freeze())
	b.ok(b.resume("fs"))
	b.unmount(dir)
}

// confLeak: on 6.12 a suspend nested in a freeze leaves a count behind. The
// next suspend does not freeze, and a mount finds the device busy.
func confLeak(b *bench) {
	if !b.ver.atLeast(6, 12) {
		return
	}
	no, dir := b.mounted("fs")
	b.ok(dir.Freeze())
	b.ok(b.suspend("fs"))
	b.ok(b.resume("fs"))
	b.ok(dir.Thaw())
	leaks := !b.ver.atLeast(7, 2)
	b.ok(b.suspend("fs"))
	if leaks {
		b.want(unix.EINVAL, dir.Thaw()) // not frozen; a thaw of a frozen one would sleep here
	}
	b.ok(b.resume("fs"))
	b.unmount(dir)
	err := b.k.Mount(dmNode(no), b.env.Dir, "ext4", 0, "")
	if leaks {
		b.want(unix.EBUSY, err)
		return
	}
	b.ok(err)
	b.ok(b.k.Unmount(b.env.Dir, 0))
}

func confMountFrozen(b *bench) {
	no, dir := b.mounted("fs")
	b.ok(b.suspend("fs"))
	b.want(unix.EBUSY, b.k.Mount(dmNode(no), b.env.Dir, "ext4", 0, ""))
	b.ok(b.resume("fs"))
	b.unmount(dir)
}

func confUmountFrozen(b *bench) {
	no, dir := b.mounted("fs")
	b.ok(dir.Freeze())
	b.unmount(dir)
	b.opens("opens", "fs", 1)
	b.want(unix.EBUSY, b.remove("fs"))
	b.ok(b.k.Mount(dmNode(no), b.env.Dir, "ext4", 0, ""))
	dir = b.open(b.env.Dir, unix.O_RDONLY|unix.O_DIRECTORY)
	b.ok(dir.Thaw())
	b.unmount(dir)
	b.opens("opens", "fs", 0)
}

// confSwapFrozen: a resume that has to swap freezes too, unless told not to.
func confSwapFrozen(b *bench) {
	_, dir := b.mounted("fs")
	size := b.sectors(b.env.Mountable)
	b.ok(dir.Freeze())
	b.ok(b.load("fs", spec(size, "linear", b.number(b.env.Mountable), 0)))
	if !b.ver.atLeast(6, 12) {
		b.want(unix.EBUSY, b.resume("fs"))
		info := b.info("fs")
		same(b, "suspended", info.Suspended, false)
		same(b, "inactive", info.Inactive, true)
	}
	_, err := b.c.Resume(conf("fs"), ioctl.SkipLockFS, ioctl.Event{})
	b.ok(err)
	same(b, "inactive", b.info("fs").Inactive, false)
	b.ok(dir.Thaw())
	b.unmount(dir)
}
