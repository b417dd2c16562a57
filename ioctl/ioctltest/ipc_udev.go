package ioctltest

import "golang.org/x/sys/unix"

// The upper half of a cookie, and the key of its semaphore, libdm-common.c.
const (
	udevDisableDM = 1 << 0
	cookieMagic   = 0x0d4d
)

// uevent is an event as udev sees it: rules first, then the notification that
// counts the cookie's semaphore down.
func (k *Kernel) uevent(md *mapped, action string, cookie uint32) {
	if !k.opts.Udev || k.opts.NoRules {
		return
	}
	if action == "remove" {
		k.dropLink(md.name, md)
	}
	if action == "change" && cookie>>16&udevDisableDM == 0 {
		k.makeLink(md)
	}
	if low := cookie & 0xffff; low != 0 {
		k.notify(int32(cookieMagic<<16 | low))
	}
}

// renamed is the change event of a rename.
func (k *Kernel) renamed(md *mapped, old string, cookie uint32) {
	if k.opts.Udev && old != md.name {
		k.dropLink(old, md)
	}
	k.uevent(md, "change", cookie)
}

func (k *Kernel) makeLink(md *mapped) {
	n := k.newNode(unix.S_IFLNK | 0o777)
	n.link = "../" + md.dev.name
	k.place("/dev/mapper/"+md.name, n)
}

// dropLink removes udev's own link, not a node that somebody else made.
func (k *Kernel) dropLink(name string, md *mapped) {
	path := "/dev/mapper/" + name
	if w, err := k.walk(path, false); err == nil && w.at.n.link == "../"+md.dev.name {
		k.erase(path)
	}
}

func (k *Kernel) notify(key int32) {
	for _, s := range k.sems {
		if s.key == key && s.values[0] > 0 {
			s.values[0]--
		}
	}
}
