package ioctltest

import (
	"cmp"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// include/uapi/linux/loop.h.
const (
	loopMajor = 7

	loopCtlGetFree  = 0x4c82
	loopConfigure   = 0x4c0a
	loopClrFD       = 0x4c01
	loopGetStatus   = 0x4c05
	loopSetDirectIO = 0x4c08

	loopReadOnly  = 1
	loopAutoclear = 4
	loopDirectIO  = 16

	loopConfigSize = 304
	loopInfoSize   = 232
	infoAt         = 8
	infoOffset     = 24
	infoLimit      = 32
	infoNumber     = 40
	infoFlags      = 52
	infoName       = 56
)

// loop is the backing of a loop device that has one.
type loop struct {
	mnt    *mount
	n      *node
	path   string
	offset uint64
	limit  uint64
	flags  uint32
	info   [loopInfoSize]byte
}

// loopControl answers LOOP_CTL_GET_FREE, making the device.
func (k *Kernel) loopControl(request uint32) (int, error) {
	if request != loopCtlGetFree {
		return 0, unix.ENOSYS
	}
	minor := uint32(0)
	for k.loops[minor] != nil && k.loops[minor].loop != nil {
		minor++
	}
	if k.loops[minor] == nil {
		d := &device{no: ioctl.DevNo{Major: loopMajor, Minor: minor}, name: "loop" + itoa(minor), logical: sectorSize, physical: sectorSize, data: newSparse()}
		k.loops[minor], k.devices[d.no] = d, d
		k.addDevice(d)
	}
	return int(minor), nil
}

func (k *Kernel) loopIoctl(d *device, request uint32, arg []byte) error {
	switch request {
	case loopConfigure:
		return k.configureLoop(d, arg)
	case loopGetStatus:
		if d.loop == nil {
			return unix.ENXIO
		}
		if len(arg) < loopInfoSize {
			return unix.EFAULT
		}
		copy(arg, d.loop.info[:])
		put32(arg, infoNumber, d.no.Minor)
		put32(arg, infoFlags, d.loop.flags)
		return nil
	}
	return k.loopIoctlInt(d, request, 0)
}

func (k *Kernel) loopIoctlInt(d *device, request uint32, arg uintptr) error {
	switch {
	case request != loopClrFD && request != loopSetDirectIO:
		return unix.ENOTTY
	case d.loop == nil:
		return unix.ENXIO
	case request == loopClrFD:
		// The caller has it open, so it goes at the last close.
		d.loop.flags |= loopAutoclear
	case arg != 0:
		d.loop.flags |= loopDirectIO
	default:
		d.loop.flags &^= loopDirectIO
	}
	return nil
}

func (k *Kernel) configureLoop(d *device, arg []byte) error {
	if len(arg) < loopConfigSize {
		return unix.EFAULT
	}
	f := k.fds[int(u32(arg, 0))]
	switch {
	case d.loop != nil:
		return unix.EBUSY
	case f == nil:
		return unix.EBADF
	case !f.n.is(unix.S_IFREG):
		return unix.EINVAL
	}
	l := &loop{mnt: f.mnt, n: f.n, path: f.real}
	copy(l.info[:], arg[infoAt:])
	l.offset = binary.NativeEndian.Uint64(l.info[infoOffset:])
	l.limit = binary.NativeEndian.Uint64(l.info[infoLimit:])
	l.flags = u32(l.info[:], infoFlags)
	if !f.writable() {
		l.flags |= loopReadOnly
	}
	if block := u32(arg, 4); block != 0 {
		d.logical, d.physical = block, block
	}
	// Direct I/O is dropped without an error where it cannot be had.
	if bdev := l.mnt.sb.bdev; bdev == nil || bdev.logical > d.logical {
		l.flags &^= loopDirectIO
	}
	d.loop, d.ro, d.sectors = l, l.flags&loopReadOnly != 0, l.sectors()
	return nil
}

func (l *loop) sectors() uint64 {
	size := uint64(max(0, l.n.size-int64(l.offset)))
	if l.limit > 0 {
		size = min(size, l.limit)
	}
	return size / sectorSize
}

// nameOf is the path that a loop device's file has now, as d_path tells.
func (k *Kernel) nameOf(l *loop) string {
	var find func(n *node, at string) string
	find = func(n *node, at string) string {
		for name, kid := range n.kids {
			if kid == l.n {
				return join(at, name)
			}
			if found := find(kid, join(at, name)); found != "" {
				return found
			}
		}
		return ""
	}
	if found := find(l.mnt.root, cmp.Or(l.mnt.at, "/")); found != "" {
		return found
	}
	return l.path + " (deleted)"
}

// writeLoop waits for a frozen filesystem; direct I/O gets past the freeze
// before 6.12.
func (k *Kernel) writeLoop(d *device, off uint64, b []byte) error {
	l := d.loop
	bypass := l.flags&loopDirectIO != 0 && !k.ver.atLeast(6, 12)
	if l.mnt.sb.frozen > 0 && !bypass {
		return k.hang("write to %s, whose file is on a frozen filesystem", d.name)
	}
	if err := k.reachable(l.mnt, l.path); err != nil {
		return err
	}
	if l.n.attrs&immutable != 0 {
		return unix.EIO
	}
	l.n.data.write(int64(l.offset+off), b)
	return nil
}

func (k *Kernel) clearLoop(d *device) {
	sb := d.loop.mnt.sb
	d.loop, d.ro, d.sectors = nil, false, 0
	d.logical, d.physical = sectorSize, sectorSize
	if slices.Contains(k.supers, sb) {
		k.dropSuper(sb) // it may have been unmounted lazily
	}
}

// AddLoop puts a loop device over a file of the host, as losetup would.
func (k *Kernel) AddLoop(path string) ioctl.DevNo {
	k.mu.Lock()
	defer k.mu.Unlock()
	minor, err := k.loopControl(loopCtlGetFree)
	must("loop", err)
	fd, err := k.open(path, unix.O_RDWR, 0)
	must("open "+path, err)
	d := k.loops[uint32(minor)]
	config := make([]byte, loopConfigSize)
	put32(config, 0, uint32(fd))
	copy(config[infoAt+infoName:], path)
	must("loop on "+path, k.loopIoctl(d, loopConfigure, config))
	must("close "+path, k.close(fd))
	return d.no
}

// RemoveLoop takes a loop device away again, and its node.
func (k *Kernel) RemoveLoop(no ioctl.DevNo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.must(no)
	if d.opens > 0 {
		panic("ioctltest: " + d.name + " is in use")
	}
	k.clearLoop(d)
	k.removeDevice(d)
	delete(k.loops, no.Minor)
}
