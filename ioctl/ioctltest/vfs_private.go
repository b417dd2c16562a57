package ioctltest

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPrivate makes a mount without a place.
func (k *Kernel) mountPrivate(fstype, source string, options []string) (int, error) {
	if k.euid != 0 {
		return -1, unix.EPERM
	}
	sb, err := k.privateSuper(fstype, source, options)
	if err != nil {
		return -1, err
	}
	ro := slices.Contains(options, "ro")
	m := &mount{ns: &namespace{}, at: "/", sb: sb, root: sb.root, sub: "/", ro: ro}
	return k.install(&file{k: k, path: fstype, mnt: m, n: sb.root, flags: unix.O_RDONLY, claim: claimKinds}), nil
}

func (k *Kernel) privateSuper(fstype, source string, options []string) (*superblock, error) {
	if fstype == "ramfs" || fstype == "tmpfs" {
		k.nextAnon++
		sb := &superblock{fstype: fstype, source: "none", root: k.newNode(unix.S_IFDIR | 0o755)}
		sb.dev.Minor = uint32(k.nextAnon)
		return sb, nil
	}
	d, err := k.blockAt(source)
	if err != nil {
		return nil, err
	}
	return k.super(d, source, fstype, slices.Contains(options, "ro"), strings.Join(options, ","))
}

// include/uapi/linux/fsmap.h.
const (
	getFSMap     = 0xc0c0583b
	fsmapHeader  = 192
	fsmapRecord  = 64
	fsmapLow     = 64
	fsmapSpecial = 0x10
	fsmapLast    = 0x20
	fsmapFree    = 1
	fsmapUnknown = 2
)

// fsmap tells what is free and what is not on the device of a filesystem, from the
// low key on. An image's filesystem is what its origin's was at the cut.
func (k *Kernel) fsmap(f *file, arg []byte) error {
	sb := f.mnt.sb
	if sb.bdev == nil || sb.fstype != "ext4" && sb.fstype != "xfs" {
		return unix.ENOTTY
	}
	if len(arg) < fsmapHeader {
		return unix.EFAULT
	}
	taken := k.taken(sb)
	if s := imageOf(sb.bdev); s != nil {
		taken = nil
		for _, c := range s.cut {
			taken = append(taken, c.taken...)
		}
		slices.SortFunc(taken, downwards)
	}
	slices.Reverse(taken)
	low := int64(binary.NativeEndian.Uint64(arg[fsmapLow+8:]) + binary.NativeEndian.Uint64(arg[fsmapLow+32:]))
	size, room := int64(sb.bdev.size()*sectorSize)/pageSize*pageSize, u32(arg, 8)
	n, at := uint32(0), int64(0)
	record := func(end int64, owner uint64) {
		if end > at && at >= low && n < room {
			rec := arg[fsmapHeader+n*fsmapRecord : fsmapHeader+(n+1)*fsmapRecord]
			clear(rec)
			put32(rec, 0, uint32(unix.Mkdev(sb.dev.Major, sb.dev.Minor)))
			put32(rec, 4, fsmapSpecial)
			binary.NativeEndian.PutUint64(rec[8:], uint64(at))
			binary.NativeEndian.PutUint64(rec[16:], owner)
			binary.NativeEndian.PutUint64(rec[32:], uint64(end-at))
			if end == size {
				put32(rec, 4, fsmapSpecial|fsmapLast)
			}
			n++
		}
		at = max(at, end)
	}
	for _, p := range taken {
		record(p.physical, fsmapFree)
		record(p.physical+p.length, fsmapUnknown)
	}
	record(size, fsmapFree)
	put32(arg, 12, n)
	return nil
}
