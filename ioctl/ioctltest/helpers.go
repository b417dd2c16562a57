package ioctltest

import (
	"fmt"
	"path"
	"slices"

	"github.com/dmsnap/dmsnap/ioctl"
	"golang.org/x/sys/unix"
)

// Row is one line of a table, in sectors of 512 bytes.
type Row struct {
	Start, Length uint64
	Type, Params  string
}

// DiskOption changes a disk of AddDisk.
type DiskOption func(*Kernel, *device)

// Sectors sets the logical and the physical block size in bytes.
func Sectors(logical, physical uint32) DiskOption {
	return func(_ *Kernel, d *device) { d.logical, d.physical = logical, physical }
}

// ReadOnly makes the disk read-only.
func ReadOnly() DiskOption { return func(_ *Kernel, d *device) { d.ro = true } }

// Partition adds a partition; its number is added to the disk's minor. Start
// and size are bytes.
func Partition(number int, start, size uint64) DiskOption {
	return func(k *Kernel, d *device) {
		name := fmt.Sprintf("%s%d", d.name, number)
		if last := d.name[len(d.name)-1]; last >= '0' && last <= '9' {
			name = fmt.Sprintf("%sp%d", d.name, number)
		}
		no := ioctl.DevNo{Major: d.no.Major, Minor: d.no.Minor + uint32(number)}
		k.devices[no] = &device{
			no: no, name: name, sectors: size / sectorSize, logical: d.logical, physical: d.physical,
			whole: d, part: number, start: start / sectorSize,
		}
		k.addDevice(k.devices[no])
	}
}

// AddDisk adds a plain disk with node /dev/<name> and contents of zeros. Size
// is in bytes. Block sizes must come before partitions.
func (k *Kernel) AddDisk(name string, no ioctl.DevNo, size uint64, opts ...DiskOption) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.devices[no] != nil {
		panic("ioctltest: device number in use: " + no.String())
	}
	d := &device{no: no, name: name, sectors: size / sectorSize, logical: sectorSize, physical: sectorSize, data: newSparse()}
	k.devices[no] = d
	k.addDevice(d)
	for _, o := range opts {
		o(k, d)
	}
}

// AddDM makes a live device-mapper device, as LVM or cryptsetup would, with
// /dev/mapper/<name>: a link with udev, a node without.
func (k *Kernel) AddDM(name, uuid string, rows ...Row) ioctl.DevNo {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := &message{b: make([]byte, headerSize), name: name, uuid: uuid}
	must("create "+name, k.dmCreate(m))
	md := k.byName(name)
	k.loadRows(md, rows)
	must("resume "+name, k.resume(md, &message{b: m.b}, false))
	if !k.opts.Udev {
		n := k.newNode(unix.S_IFBLK | 0o600)
		n.rdev = unix.Mkdev(md.dev.no.Major, md.dev.no.Minor)
		k.place("/dev/mapper/"+name, n)
	}
	return md.dev.no
}

func must(what string, err error) {
	if err != nil {
		panic(fmt.Sprintf("ioctltest: %s: %v", what, err))
	}
}

// loadRows is a table load by somebody else.
func (k *Kernel) loadRows(md *mapped, rows []Row) {
	t := &table{md: md}
	for _, r := range rows {
		must(fmt.Sprintf("load %s: %q", md.name, r.Type+" "+r.Params), k.addTarget(t, r))
	}
	if !md.dev.present {
		must("load "+md.name, k.fits(t))
		k.addDevice(md.dev)
	}
	k.release(md.inactive)
	md.inactive = t
}

// named finds a device-mapper device by name.
func (k *Kernel) named(name string) *mapped {
	md := k.byName(name)
	if md == nil {
		panic("ioctltest: no device-mapper device " + name)
	}
	return md
}

// Reload swaps a table in behind the back of the code under test.
func (k *Kernel) Reload(name string, rows ...Row) {
	k.mu.Lock()
	defer k.mu.Unlock()
	md := k.named(name)
	k.loadRows(md, rows)
	must("resume "+name, k.resume(md, &message{b: make([]byte, headerSize)}, false))
}

// Suspend suspends a device without a freeze, or resumes it.
func (k *Kernel) Suspend(name string, on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	md := k.named(name)
	if on {
		must("suspend "+name, k.suspend(md, false))
		return
	}
	must("resume "+name, k.start(md, &message{b: make([]byte, headerSize)}))
}

// Hold opens a device until the function it returns is called.
func (k *Kernel) Hold(no ioctl.DevNo) (release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.must(no)
	must("open "+d.name, k.openDevice(d, claimKinds))
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.closeDevice(d)
	}
}

func (k *Kernel) must(no ioctl.DevNo) *device {
	d := k.devices[no]
	if d == nil {
		panic("ioctltest: no device " + no.String())
	}
	return d
}

// Write writes to a device as a user of it would. It returns an errno.
func (k *Kernel) Write(no ioctl.DevNo, off uint64, b []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.write(k.must(no), off, b)
}

// Read reads a device as a user of it would.
func (k *Kernel) Read(no ioctl.DevNo, off uint64, b []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.read(k.must(no), off, b)
}

// SetSize changes the size of a plain disk, in bytes.
func (k *Kernel) SetSize(no ioctl.DevNo, size uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.must(no).sectors = size / sectorSize
}

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
	k.procs[pid] = &process{comm: comm, ns: k.spaces[ns], files: openFiles}
	for _, f := range openFiles {
		if d, err := k.blockAt(f); err == nil {
			d.opens++
		}
	}
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
	n := k.newNode(unix.S_IFREG | 0o644)
	n.data.write(0, []byte(text))
	n.size = int64(len(text))
	k.place(path.Clean(at), n)
}

// image finds the snapshot that a device-mapper device shows.
func (k *Kernel) image(name string) *snapshot {
	s := imageOf(k.named(name).dev)
	if s == nil {
		panic("ioctltest: " + name + " is no snapshot")
	}
	return s
}

// Fill allocates chunks of a snapshot's store until n are in use, first as
// writes to its origin would, then, when all of the origin is copied, without
// exceptions. Beyond the end of the store the snapshot becomes invalid.
func (k *Kernel) Fill(name string, n uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.image(name)
	for chunk := uint64(0); s.valid && s.store.next < n; chunk++ {
		if _, done := s.store.exceptions[chunk]; done {
			continue
		}
		var err error
		if chunk*s.store.chunk < s.tg.length {
			_, err = s.copyOut(chunk)
		} else if _, ok := s.store.prepare(); !ok {
			err = unix.ENOSPC
		}
		if err != nil {
			s.invalidate()
		}
	}
}

// Invalidate makes a snapshot invalid, as a store that is full or broken does.
func (k *Kernel) Invalidate(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.image(name).invalidate()
}

// Overflow puts a snapshot with a PO store into the state of a refused write.
func (k *Kernel) Overflow(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.image(name).overflowed = true
}

// OldExceptions tells whether the snapshot found a header in its store when
// its table was loaded: a store that was not wiped.
func (k *Kernel) OldExceptions(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.image(name).loadedOld
}

// CutClean tells whether every writable filesystem above the origin was frozen
// when the snapshot was first resumed.
func (k *Kernel) CutClean(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.image(name).cutClean()
}

// Exit closes every descriptor of the process under test, as its death would.
func (k *Kernel) Exit() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closeAll()
}

func (k *Kernel) closeAll() {
	for fd := range k.fds {
		must("close", k.close(fd))
	}
}
