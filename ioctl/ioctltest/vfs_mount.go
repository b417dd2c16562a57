package ioctltest

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// superblock is one mounted filesystem, however many mounts it has.
type superblock struct {
	dev    ioctl.DevNo // as stat reports it; anonymous for btrfs and the rest without a device
	fstype string
	uuid   string
	source string
	opts   string
	ro     bool
	bdev   *device
	root   *node
	frozen int // holds on the freeze: 6.12 and later can have two
}

// namespace is one mount namespace.
type namespace struct {
	id     uint64
	mounts []*mount
}

// mount is one line of mountinfo.
type mount struct {
	id     int
	ns     *namespace
	parent *mount
	point  *node // the node it covers
	at     string
	sb     *superblock
	root   *node
	sub    string // path of root inside the filesystem
	ro     bool
}

func (m *mount) spot() spot { return spot{mnt: m, n: m.root, path: m.at} }

func (ns *namespace) top() spot { return ns.cover(ns.mounts[0].spot()) }

// cover follows the mounts stacked on a spot.
func (ns *namespace) cover(s spot) spot {
	for {
		i := slices.IndexFunc(ns.mounts, func(m *mount) bool {
			return m.parent == s.mnt && m.point == s.n && m.parent != nil
		})
		if i < 0 {
			return s
		}
		s = ns.mounts[i].spot()
	}
}

const rootNS = 4026531841

// bootFiles mounts what every host has. The root filesystem has the given
// files, or none.
func (k *Kernel) bootFiles(files *node) {
	k.root = &namespace{id: rootNS}
	k.spaces = map[uint64]*namespace{rootNS: k.root}
	rootfs := k.newSuper("rootfs", "rootfs", nil)
	if files != nil {
		rootfs.root = files
	}
	k.attach(k.root, spot{path: "/"}, rootfs, rootfs.root, "/")
	for _, fs := range []struct{ at, fstype string }{
		{"/dev", "devtmpfs"}, {"/proc", "proc"}, {"/run", "tmpfs"}, {"/sys", "sysfs"},
	} {
		sb := k.newSuper(fs.fstype, fs.fstype, nil)
		k.attach(k.root, k.mkdirAll(fs.at), sb, sb.root, "/")
	}
	k.mkdirAll("/proc").n.list = k.procRoot
	k.mkdirAll("/sys").n.list = k.sysRoot
	k.place("/lib/modules/"+k.opts.Release+"/modules.dep", k.text(k.modulesDep()))
	k.mkdirAll("/tmp")
	k.mkdirAll("/var/lib")
	k.place("/dev/mapper/control", k.charDev(miscMajor, controlMinor))
	k.place("/dev/loop-control", k.charDev(miscMajor, loopControlMinor))
	k.place("/dev/null", k.charDev(1, 3))
	if k.opts.Udev {
		k.place("/run/udev/control", k.newNode(unix.S_IFSOCK|0o600))
	}
}

func (k *Kernel) charDev(major, minor uint32) *node {
	n := k.newNode(unix.S_IFCHR | 0o600)
	n.rdev = unix.Mkdev(major, minor)
	return n
}

func (k *Kernel) newSuper(fstype, source string, d *device) *superblock {
	sb := &superblock{fstype: fstype, source: source, bdev: d, root: k.newNode(unix.S_IFDIR | 0o755)}
	if d != nil && fstype != "btrfs" {
		sb.dev = d.no
	} else {
		k.nextAnon++
		sb.dev = ioctl.DevNo{Minor: uint32(k.nextAnon)}
	}
	k.supers = append(k.supers, sb)
	return sb
}

func (k *Kernel) attach(ns *namespace, on spot, sb *superblock, root *node, sub string) *mount {
	k.nextMount++
	m := &mount{id: 20 + k.nextMount, ns: ns, parent: on.mnt, point: on.n, at: on.path, sb: sb, root: root, sub: sub}
	ns.mounts = append(ns.mounts, m)
	return m
}

// mountCall is mount(2).
func (k *Kernel) mountCall(source, target, fstype string, flags uintptr, data string) error {
	if k.euid != 0 {
		return unix.EPERM
	}
	on, err := k.walk(target, true)
	if err != nil {
		return err
	}
	ro := flags&unix.MS_RDONLY != 0
	switch {
	case flags&unix.MS_REMOUNT != 0:
		return k.remount(on.at, ro, flags)
	case flags&unix.MS_BIND != 0:
		from, err := k.walk(source, true)
		if err != nil {
			return err
		}
		sub := strings.TrimPrefix(from.at.path, strings.TrimSuffix(from.at.mnt.at, "/"))
		k.attach(k.root, on.at, from.at.mnt.sb, from.at.n, "/"+strings.TrimPrefix(join(from.at.mnt.sub, strings.TrimPrefix(sub, "/")), "/"))
		return nil
	case fstype == "tmpfs":
		sb := k.newSuper(fstype, source, nil)
		sb.ro, sb.opts = ro, data
		k.attach(k.root, on.at, sb, sb.root, "/").ro = ro
		return nil
	}
	d, err := k.blockAt(source)
	if err != nil {
		return err
	}
	sb, err := k.super(d, source, fstype, ro, data)
	if err != nil {
		return err
	}
	k.attach(k.root, on.at, sb, sb.root, "/").ro = ro
	return nil
}

func (k *Kernel) remount(at spot, ro bool, flags uintptr) error {
	if at.n != at.mnt.root {
		return unix.EINVAL
	}
	at.mnt.ro = ro
	if flags&unix.MS_BIND == 0 {
		if sb := at.mnt.sb; sb.bdev != nil && sb.ro != ro && sb.frozen > 0 {
			return k.hang("remount of the frozen filesystem at %s", at.path)
		}
		at.mnt.sb.ro = ro
	}
	return nil
}

// blockAt finds the block device that a path names.
func (k *Kernel) blockAt(path string) (*device, error) {
	w, err := k.walk(path, true)
	if err != nil {
		return nil, err
	}
	if !w.at.n.is(unix.S_IFBLK) {
		return nil, unix.ENOTBLK
	}
	d := k.devices[fromRdev(w.at.n.rdev)]
	if d == nil || !d.present {
		return nil, unix.ENXIO
	}
	return d, nil
}

func fromRdev(rdev uint64) ioctl.DevNo {
	return ioctl.DevNo{Major: unix.Major(rdev), Minor: unix.Minor(rdev)}
}

// super finds or makes the superblock for mounting a device.
func (k *Kernel) super(d *device, source, fstype string, ro bool, data string) (*superblock, error) {
	if d.freezes > 0 {
		return nil, unix.EBUSY
	}
	if sb := k.superOn(d); sb != nil {
		if sb.fstype != fstype || sb.ro != ro {
			return nil, unix.EBUSY
		}
		return sb, nil
	}
	if !k.canClaim(d, claimFS) {
		return nil, unix.EBUSY
	}
	if md := k.stuck(d); md != nil {
		return nil, k.hang("mount of %s while %s is suspended", source, md.name)
	}
	found, uuid := k.probe(d)
	if found == "" || found != fstype {
		return nil, unix.EINVAL
	}
	if err := k.mayMount(d, fstype, uuid, ro, strings.Split(data, ",")); err != nil {
		return nil, err
	}
	sb := k.newSuper(fstype, source, d)
	sb.uuid, sb.ro, sb.opts = uuid, ro, data
	sb.root = k.filesOf(uuid, sb)
	d.claim(claimFS)
	d.opens++
	return sb, nil
}

// mayMount applies what the filesystems themselves refuse.
func (k *Kernel) mayMount(d *device, fstype, uuid string, ro bool, opts []string) error {
	if d.readOnly() && !ro {
		return unix.EACCES
	}
	if fstype == "xfs" && !slices.Contains(opts, "nouuid") {
		for _, other := range k.supers {
			if other.fstype == "xfs" && other.uuid == uuid && other.bdev != nil {
				return unix.EINVAL
			}
		}
	}
	s := imageOf(d)
	if s == nil || !d.readOnly() {
		return nil
	}
	// Recovery needs to write. A frozen xfs leaves its log dirty on purpose;
	// a frozen ext4 does not.
	recover := fstype == "xfs" || fstype == "ext4" && !s.cutClean()
	if recover && !slices.Contains(opts, "norecovery") && !slices.Contains(opts, "noload") {
		return unix.EROFS
	}
	return nil
}

// filesOf finds the files that a filesystem had when it was mounted before. A
// second one with the same uuid, such as an image, gets a copy of them as they
// are now: files have no past here, device contents do.
func (k *Kernel) filesOf(uuid string, sb *superblock) *node {
	files := k.files[uuid]
	if files == nil {
		k.files[uuid] = sb.root
		return sb.root
	}
	for _, other := range k.supers {
		if other != sb && other.root == files {
			return files.copy()
		}
	}
	return files
}

func (k *Kernel) superOn(d *device) *superblock {
	for _, sb := range k.supers {
		if sb.bdev == d && d != nil {
			return sb
		}
	}
	return nil
}

// umount is umount2(2).
func (k *Kernel) umount(target string, flags int) error {
	if k.euid != 0 {
		return unix.EPERM
	}
	w, err := k.walk(target, true)
	if err != nil {
		return err
	}
	m := w.at.mnt
	if w.at.n != m.root || m.parent == nil {
		return unix.EINVAL
	}
	if flags&unix.MNT_DETACH == 0 && m.busy(k) {
		return unix.EBUSY
	}
	k.detach(m)
	return nil
}

func (m *mount) busy(k *Kernel) bool {
	for _, f := range k.fds {
		if f.mnt == m && f.n != nil {
			return true
		}
	}
	for _, d := range k.loops {
		if d.loop != nil && d.loop.mnt == m {
			return true
		}
	}
	for _, p := range k.procs {
		for _, path := range p.files {
			if p.ns == m.ns && within(path, m.at) {
				return true
			}
		}
	}
	return slices.ContainsFunc(m.ns.mounts, func(o *mount) bool { return o.parent == m })
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (k *Kernel) detach(m *mount) {
	m.ns.mounts = slices.DeleteFunc(m.ns.mounts, func(o *mount) bool { return o == m })
	k.dropSuper(m.sb)
}

// dropSuper ends a filesystem without mounts. A frozen one stays, and keeps
// its device busy, until it is thawed; so does one with the file of a loop device,
// after a lazy unmount, until that lets it go.
func (k *Kernel) dropSuper(sb *superblock) {
	if sb.frozen > 0 {
		return
	}
	for _, d := range k.loops {
		if d.loop != nil && d.loop.mnt.sb == sb && sb.bdev != nil {
			return
		}
	}
	for _, ns := range k.spaces {
		if slices.ContainsFunc(ns.mounts, func(m *mount) bool { return m.sb == sb }) {
			return
		}
	}
	for _, f := range k.fds {
		if f.mnt.sb == sb && len(f.mnt.ns.mounts) == 0 {
			return // by a mount without a place
		}
	}
	k.supers = slices.DeleteFunc(k.supers, func(o *superblock) bool { return o == sb })
	if sb.bdev != nil {
		sb.bdev.unclaim(claimFS)
		k.closeDevice(sb.bdev)
	}
}

// info is the line of mountinfo.
func (m *mount) info() string {
	parent := 1
	if m.parent != nil {
		parent = m.parent.id
	}
	return fmt.Sprintf("%d %d %d:%d %s %s %s,relatime shared:%d - %s %s %s\n",
		m.id, parent, m.sb.dev.Major, m.sb.dev.Minor, escape(m.sub), escape(m.at), rw(m.ro), m.id,
		m.sb.fstype, escape(m.sb.source), strings.TrimSuffix(rw(m.sb.ro)+","+m.sb.opts, ","))
}

func rw(ro bool) string {
	if ro {
		return "ro"
	}
	return "rw"
}

var mountEscaper = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)

func escape(s string) string { return mountEscaper.Replace(s) }
