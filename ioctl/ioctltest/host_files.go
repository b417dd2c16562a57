package ioctltest

import (
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// MountOption changes a mount of Mount.
type MountOption func(*mountRequest)

type mountRequest struct {
	ro     bool
	opts   string
	source string
	sub    string
	spaces []uint64
}

// MountReadOnly mounts read-only.
func MountReadOnly() MountOption { return func(r *mountRequest) { r.ro = true } }

// MountData sets the filesystem's own options, as in the last field of mountinfo.
func MountData(opts string) MountOption { return func(r *mountRequest) { r.opts = opts } }

// MountSource sets the device path that mountinfo shows.
func MountSource(source string) MountOption { return func(r *mountRequest) { r.source = source } }

// MountSub mounts a directory of the filesystem, as a bind mount or a btrfs
// subvolume does.
func MountSub(sub string) MountOption { return func(r *mountRequest) { r.sub = sub } }

// MountIn mounts in the namespaces of AddProcess with these numbers instead of
// the host's.
func MountIn(ids ...uint64) MountOption { return func(r *mountRequest) { r.spaces = ids } }

// Mount mounts a device, formatting it if it holds no filesystem yet. The
// second mount of a device is another mount of the same superblock. A mount
// at "/" turns the root filesystem into that of the device.
func (k *Kernel) Mount(no ioctl.DevNo, at, fstype string, opts ...MountOption) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.must(no)
	r := mountRequest{source: "/dev/" + d.name, spaces: []uint64{rootNS}}
	if d.dm != nil {
		r.source = "/dev/mapper/" + d.dm.name
	}
	for _, o := range opts {
		o(&r)
	}
	if found, _ := k.probe(d); found == "" {
		k.format(d, fstype)
	}
	sb, err := k.super(d, r.source, fstype, r.ro, r.opts)
	must("mount "+at, err)
	if at == "/" {
		k.rootOn(sb)
		return
	}
	for _, id := range r.spaces {
		k.mountIn(k.spaces[id], sb, at, r)
	}
}

func (k *Kernel) mountIn(ns *namespace, sb *superblock, at string, r mountRequest) {
	if ns == nil {
		panic("ioctltest: mount " + at + ": no process has that namespace")
	}
	root, sub := sb.root, "/"
	if r.sub != "" {
		sub = path.Clean("/" + r.sub)
		for _, part := range split(sub) {
			if root.kids[part] == nil {
				root.kids[part] = k.newNode(unix.S_IFDIR | 0o755)
			}
			root = root.kids[part]
		}
	}
	host := k.root
	k.root = ns // the mount point is looked up as a process in there would
	on := k.mkdirAll(at)
	k.root = host
	k.attach(ns, on, sb, root, sub).ro = r.ro
}

// rootOn moves the files of the root filesystem to a device.
func (k *Kernel) rootOn(sb *superblock) {
	for _, ns := range k.spaces {
		sb.root = ns.mounts[0].root
		ns.mounts[0].sb = sb
	}
	k.files[sb.uuid] = sb.root
	k.supers = slices.DeleteFunc(k.supers, func(o *superblock) bool { return o.fstype == "rootfs" })
}

// Umask sets that of the process under test.
func (k *Kernel) Umask(mask uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.umask = mask
}

// Freeze freezes the filesystem mounted at a path, or thaws it, as fsfreeze
// would.
func (k *Kernel) Freeze(at string, on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, err := k.walk(at, true)
	must("freeze "+at, err)
	if on {
		must("freeze "+at, k.freezeSuper(w.at.mnt.sb, false))
		return
	}
	must("thaw "+at, k.thawSuper(w.at.mnt.sb, false))
}

// AddProcess adds a process. A mount namespace of zero is the host's; a new
// number starts as a copy of the host's mounts. Open files are paths.
func (k *Kernel) AddProcess(pid int, comm string, ns uint64, openFiles ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ns == 0 {
		ns = rootNS
	}
	if k.spaces[ns] == nil {
		k.spaces[ns] = k.copySpace(ns)
	}
	k.nextMount++ // any number that grows
	k.procs[pid] = &process{comm: comm, ns: k.spaces[ns], files: openFiles, start: uint64(k.nextMount)}
	for _, f := range openFiles {
		if d, err := k.blockAt(f); err == nil {
			d.opens++
		}
	}
}

// Advance lets time pass: that since boot.
func (k *Kernel) Advance(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.uptime += d
}

// RemoveProcess ends a process and what it has open.
func (k *Kernel) RemoveProcess(pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.procs[pid].files {
		if d, err := k.blockAt(f); err == nil {
			k.closeDevice(d)
		}
	}
	delete(k.procs, pid)
}

func (k *Kernel) copySpace(id uint64) *namespace {
	ns := &namespace{id: id}
	copies := map[*mount]*mount{}
	for _, m := range k.root.mounts {
		c := *m
		k.nextMount++
		c.id, c.ns, c.parent = 20+k.nextMount, ns, copies[m.parent]
		copies[m] = &c
		ns.mounts = append(ns.mounts, &c)
	}
	return ns
}

// Symlink makes a link such as /dev/vg/home or /dev/disk/by-uuid/..., and the
// directories above it.
func (k *Kernel) Symlink(target, at string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.newNode(unix.S_IFLNK | 0o777)
	n.link = target
	k.place(path.Clean(at), n)
}

// WriteFile puts a file on the host, and the directories above it.
func (k *Kernel) WriteFile(at, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.place(path.Clean(at), k.text(text))
}

func (k *Kernel) text(text string) *node {
	n := k.newNode(unix.S_IFREG | 0o644)
	n.data.write(0, []byte(text))
	n.size = int64(len(text))
	return n
}
