package ioctltest

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// place is a piece of a file on the device of its filesystem, in bytes.
type place struct{ logical, physical, length int64 }

// pinned says that nobody may open a file for writing, nor truncate, rename or
// remove it.
func (n *node) pinned() bool { return n.attrs&(immutable|appendOnly) != 0 }

// punchHole is how a part of a file is given back.
const punchHole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE

// fallocate gives a range of a file its blocks, or takes them.
func (k *Kernel) fallocate(f *file, mode uint32, off, length int64) error {
	switch {
	case !f.writable() || !f.n.is(unix.S_IFREG) || f.n.text != nil:
		return unix.EBADF
	case off < 0 || length <= 0:
		return unix.EINVAL
	case mode != 0 && mode != punchHole || !fallocates[f.mnt.sb.fstype]:
		return unix.EOPNOTSUPP
	case f.n.attrs&immutable != 0, mode != 0 && f.n.attrs&appendOnly != 0:
		return unix.EPERM
	}
	if err := k.change(f.mnt, f.path); err != nil {
		return err
	}
	if mode != 0 {
		f.n.punch(off, length)
		return nil
	}
	end := (off + length + pageSize - 1) / pageSize * pageSize
	var missing int64
	for _, gap := range f.n.gaps(off/pageSize*pageSize, end) {
		missing += gap.length
	}
	if missing > k.avail(f.mnt.sb) {
		return unix.ENOSPC
	}
	k.give(f.mnt.sb, f.n, off/pageSize*pageSize, end)
	f.n.size = max(f.n.size, off+length)
	return nil
}

// punch takes the whole blocks of a range, and reads as zeros there.
func (n *node) punch(off, length int64) {
	off, end := min(off, n.size), min(off+length, n.size)
	n.data.write(off, make([]byte, end-off))
	first, last := (off+pageSize-1)/pageSize*pageSize, end/pageSize*pageSize
	if end == n.size {
		last = (end + pageSize - 1) / pageSize * pageSize
	}
	var left []place
	for _, p := range n.places {
		if head := min(p.length, max(0, first-p.logical)); head > 0 {
			left = append(left, place{p.logical, p.physical, head})
		}
		if skip := max(0, last-p.logical); skip < p.length {
			left = append(left, place{p.logical + skip, p.physical + skip, p.length - skip})
		}
	}
	n.places, n.holes = left, true
}

// gaps are the parts of a range that have no blocks.
func (n *node) gaps(from, to int64) (gaps []place) {
	for _, p := range n.places {
		if p.logical >= to {
			break
		}
		if p.logical > from {
			gaps = append(gaps, place{logical: from, length: p.logical - from})
		}
		from = max(from, p.logical+p.length)
	}
	if from < to {
		gaps = append(gaps, place{logical: from, length: to - from})
	}
	return gaps
}

var fallocates = map[string]bool{"ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "tmpfs": true}

func (n *node) allocated() int64 {
	var sum int64
	for _, p := range n.places {
		sum += p.length
	}
	return sum
}

// avail is half of the device less what files were given.
func (k *Kernel) avail(sb *superblock) int64 {
	if sb.bdev == nil {
		return 1 << 30
	}
	left := int64(sb.bdev.size()*sectorSize) / 2
	for _, n := range k.inodes(sb) {
		left -= n.allocated()
	}
	return max(0, left)
}

// inodes are the files of a filesystem, those without a name included.
func (k *Kernel) inodes(sb *superblock) []*node {
	seen := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if !seen[n] && n.list == nil {
			seen[n] = true
			for _, kid := range n.kids {
				walk(kid)
			}
		}
	}
	walk(sb.root)
	for _, f := range k.fds {
		if f.mnt != nil && f.mnt.sb == sb {
			walk(f.n)
		}
	}
	for _, d := range k.loops {
		if d.loop != nil && d.loop.mnt.sb == sb {
			walk(d.loop.n)
		}
	}
	var out []*node
	for n := range seen {
		out = append(out, n)
	}
	return out
}

// give fills the gaps of a range of a file, from the end of the device downwards
// wherever there is room, and each in as many pieces as Fragment said. The contents
// there are not the file's.
func (k *Kernel) give(sb *superblock, n *node, from, to int64) {
	if sb.bdev == nil {
		return
	}
	for _, gap := range n.gaps(from, to) {
		k.giveGap(sb, n, gap)
	}
	slices.SortFunc(n.places, func(a, b place) int { return cmp.Compare(a.logical, b.logical) })
}

func (k *Kernel) giveGap(sb *superblock, n *node, gap place) {
	taken := k.taken(sb)
	step := max(1, gap.length/pageSize/int64(max(1, k.fragments))) * pageSize
	for at := gap.logical; at < gap.logical+gap.length; at += step {
		p := place{logical: at, length: min(step, gap.logical+gap.length-at)}
		apart := int64(0)
		if k.fragments > 1 {
			apart = pageSize
		}
		p.physical = int64(sb.bdev.size()*sectorSize)/pageSize*pageSize - p.length - apart
		for _, t := range taken {
			if p.physical < t.physical+t.length && t.physical < p.physical+p.length+apart {
				p.physical = t.physical - p.length - apart
			}
		}
		n.places = append(n.places, p)
		taken = append(taken, p)
		slices.SortFunc(taken, downwards)
	}
}

// taken is what the files of a filesystem have, from the end downwards.
func (k *Kernel) taken(sb *superblock) (all []place) {
	for _, n := range k.inodes(sb) {
		all = append(all, n.places...)
	}
	slices.SortFunc(all, downwards)
	return all
}

func downwards(a, b place) int { return cmp.Compare(b.physical, a.physical) }

// cutPlaces takes away what lies beyond the end.
func cutPlaces(places []place, end int64) []place {
	var left []place
	for _, p := range places {
		if p.logical < end {
			p.length = min(p.length, end-p.logical)
			left = append(left, p)
		}
	}
	return left
}

// Fragment has files that are allocated from now on lie in that many pieces.
func (k *Kernel) Fragment(pieces int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fragments = pieces
}

// Relocate moves a file's blocks, as no user can while it is immutable.
func (k *Kernel) Relocate(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, err := k.walk(path, false)
	must("relocate "+path, err)
	end := w.at.n.allocated()
	old := slices.Clone(w.at.n.places)
	k.give(w.at.mnt.sb, w.at.n, end, 2*end)
	w.at.n.places = w.at.n.places[len(old):]
	for i := range w.at.n.places {
		w.at.n.places[i].logical -= end
	}
}

// link gives a file without a name one.
func (k *Kernel) link(f *file, path string) error {
	w, err := k.walk(path, false)
	switch {
	case err == nil:
		return unix.EEXIST
	case err != unix.ENOENT || w.dir.n == nil:
		return err
	case f.n.pinned() || w.dir.n.kids == nil || w.dir.n.list != nil:
		return unix.EPERM
	case w.dir.mnt.sb != f.mnt.sb:
		return unix.EXDEV
	}
	if err := k.change(w.dir.mnt, path); err != nil {
		return err
	}
	w.dir.n.kids[w.name] = f.n
	return nil
}

// nameless is an open with O_TMPFILE of a directory.
func (k *Kernel) nameless(dir spot, flags int, perm uint32) (*file, error) {
	switch {
	case !dir.n.is(unix.S_IFDIR):
		return nil, unix.ENOTDIR
	case flags&unix.O_ACCMODE == unix.O_RDONLY:
		return nil, unix.EINVAL
	case dir.mnt.sb.fstype == "vfat" || dir.n.kids == nil || dir.n.list != nil:
		return nil, unix.EOPNOTSUPP
	}
	if err := k.change(dir.mnt, dir.path); err != nil {
		return nil, err
	}
	return &file{k: k, path: dir.path, mnt: dir.mnt, n: k.newNode(unix.S_IFREG | perm&0o777&^k.umask), flags: flags, claim: claimKinds}, nil
}

func (k *Kernel) install(f *file) int {
	fd := 3
	for k.fds[fd] != nil {
		fd++
	}
	k.fds[fd] = f
	return fd
}
