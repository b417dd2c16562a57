package ioctltest

import (
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func imageCases() []conformanceCase {
	return []conformanceCase{
		{"image of a frozen filesystem", func(b *bench) { confImage(b, 0, 0) }},
		{"image of a running filesystem", func(b *bench) { confImage(b, ioctl.SkipLockFS, unix.EROFS) }},
	}
}

// confImage cuts a mounted filesystem with the suspend's own freeze or without
// and mounts the image read-only, on a read-only device.
func confImage(b *bench, flags ioctl.Flags, want unix.Errno) {
	size := b.sectors(b.env.Mountable)
	low := b.live("real", spec(size, "linear", b.number(b.env.Mountable), 0)).Dev
	front := b.live("front", spec(size, "snapshot-origin", low)).Dev
	b.ok(b.k.Mount(dmNode(front), b.env.Dir, "ext4", 0, ""))
	live := b.env.Dir + "/live"
	b.ok(b.k.MkdirAll(live, 0o700))
	b.create("image")
	b.ok(b.c.Load(conf("image"), ioctl.ReadOnly, []ioctl.Spec{spec(size, "snapshot", low, b.b, "N", chunkSize)}))
	_, err := b.c.Suspend(conf("front"), flags)
	b.ok(err)
	b.ok(b.resume("image"))
	b.ok(b.resume("front"))
	image := dmNode(b.info("image").Dev)
	b.want(unix.EACCES, b.k.Mount(image, live, "ext4", 0, ""))
	b.want(unix.EINVAL, b.k.Mount(image, live, "xfs", unix.MS_RDONLY, ""))
	err = b.k.Mount(image, live, "ext4", unix.MS_RDONLY, "")
	b.want(want, err)
	if want != 0 {
		err = b.k.Mount(image, live, "ext4", unix.MS_RDONLY, "noload")
		b.want(0, err)
	}
	if err == nil {
		b.opens("opens by the mount", "image", 1)
		b.want(unix.EBUSY, b.remove("image"))
		b.want(unix.EBUSY, b.k.Unmount(b.env.Dir, 0))
		b.ok(b.k.Unmount(live, 0))
	}
	b.ok(b.k.Unmount(b.env.Dir, 0))
}
