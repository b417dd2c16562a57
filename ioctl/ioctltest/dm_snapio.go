package ioctltest

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// origin is a snapshot-origin target.
type origin struct {
	k     *Kernel
	tg    *target
	d     *device
	split uint64 // bytes; writes are cut at multiples of it, 0 for never
	seq   int    // order of the last resume
}

func makeOrigin(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) != 1 {
		return nil, unix.EINVAL
	}
	d, err := k.hold(tg.table, args[0], tg.table.ro)
	if err != nil {
		return nil, err
	}
	return &origin{k: k, tg: tg, d: d}, nil
}

func (o *origin) line() string   { return devText(o.d.no) }
func (o *origin) status() string { return "" }
func (o *origin) areas() []area  { return []area{{o.d, 0, o.tg.length}} }

// resume computes the split from the snapshots loaded by now. Those that come
// later get only the first chunk of a large write.
func (o *origin) resume() {
	o.split = minChunk(o.k.snaps[o.d.no])
	o.k.seq++
	o.seq = o.k.seq
	if !slices.Contains(o.k.origins[o.d.no], o) {
		o.k.origins[o.d.no] = append(o.k.origins[o.d.no], o)
	}
}

func (o *origin) destroy() {
	o.k.origins[o.d.no] = slices.DeleteFunc(o.k.origins[o.d.no], func(p *origin) bool { return p == o })
}

func minChunk(snaps []*snapshot) uint64 {
	var least uint64
	for _, s := range snaps {
		if size := s.store.bytes(); size > 0 && (least == 0 || size < least) {
			least = size
		}
	}
	return least
}

func (o *origin) io(off uint64, b []byte, write bool) error {
	if !write {
		return o.k.read(o.d, off, b)
	}
	size := o.split
	if size == 0 {
		size = 1 << 62
	}
	return eachChunk(off, b, size, func(at uint64, bio []byte) error {
		if err := o.k.preserve(o.d, at, nil); err != nil {
			return err
		}
		return o.k.write(o.d, at, bio)
	})
}

// preserve copies the chunk at an offset into every snapshot that lacks it,
// before the origin changes there. One write preserves one chunk per snapshot.
func (k *Kernel) preserve(origin *device, off uint64, except *snapshot) error {
	for _, s := range k.snaps[origin.no] {
		if s == except || s.merge || !s.active || !s.valid || off >= s.tg.length*sectorSize {
			continue
		}
		chunk := off / s.store.bytes()
		if _, done := s.store.exceptions[chunk]; done {
			continue
		}
		if _, err := s.copyOut(chunk); err == unix.EDEADLK {
			return err
		} else if err != nil {
			s.invalidate()
		}
	}
	return nil
}

// copyOut gives a chunk of the origin a place in the store.
func (s *snapshot) copyOut(chunk uint64) (uint64, error) {
	to, ok := s.store.prepare()
	if !ok {
		return 0, unix.ENOSPC
	}
	size := s.store.bytes()
	buf := make([]byte, size)
	end := min((chunk+1)*size, s.origin.size()*sectorSize)
	if err := s.k.read(s.origin, chunk*size, buf[:end-chunk*size]); err != nil {
		return 0, err
	}
	if err := s.k.write(s.cow, to*size, buf); err != nil {
		return 0, err
	}
	return to, s.store.commit(chunk, to)
}

// io serves readers and writers of the image, or of the merging origin.
func (s *snapshot) io(off uint64, b []byte, write bool) error {
	if !s.valid && !s.merge {
		return unix.EIO
	}
	if write && s.overflowed {
		return unix.EIO
	}
	if !write && !s.merge {
		defer s.showRecovery(off, b)
	}
	size := s.store.bytes()
	return eachChunk(off, b, size, func(at uint64, part []byte) error {
		to, ok := s.store.exceptions[at/size]
		switch {
		case ok:
			return s.k.transfer(s.cow, to*size+at%size, part, write)
		case !write:
			return s.k.read(s.origin, at, part)
		case s.merge:
			if err := s.k.preserve(s.origin, at, s); err != nil {
				return err
			}
			return s.k.write(s.origin, at, part)
		}
		return s.writeNew(at, part)
	})
}

// writeNew writes to a chunk of the image that has no exception yet.
func (s *snapshot) writeNew(at uint64, part []byte) error {
	size := s.store.bytes()
	to, err := s.copyOut(at / size)
	if err == unix.EDEADLK {
		return err
	}
	if err != nil {
		if err == unix.ENOSPC && s.store.overflowOK {
			s.overflowed = true
		} else {
			s.invalidate()
		}
		return unix.EIO
	}
	return s.k.write(s.cow, to*size+at%size, part)
}

// mergeChunks copies the last n exceptions back to the origin.
func (s *snapshot) mergeChunks(n int) {
	size := s.store.bytes()
	for ; n > 0 && s.valid && !s.mergeFailed && len(s.store.order) > 0; n-- {
		chunk := s.store.order[len(s.store.order)-1]
		buf := make([]byte, min(size, s.origin.size()*sectorSize-chunk*size))
		err := s.k.read(s.cow, s.store.exceptions[chunk]*size, buf)
		if err == nil {
			err = s.k.preserve(s.origin, chunk*size, s)
		}
		if err == nil {
			err = s.k.write(s.origin, chunk*size, buf)
		}
		if err == nil {
			err = s.store.forget()
		}
		s.mergeFailed = err != nil
	}
}

// Protected tells whether the image of that name keeps its past: nil if a
// live snapshot-origin over the very same origin carries the writers (rule A)
// and was resumed after the snapshot (rule B). A chained image is as
// protected as the one it reads through, one that only shows a snapshot as that.
func (k *Kernel) Protected(image string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	md := k.byName(image)
	if md == nil {
		return fmt.Errorf("%s: no such device", image)
	}
	return k.protected(md.dev)
}

// shownBy is the device that a linear one shows, nil if it is none.
func shownBy(d *device) *device {
	if d.dm == nil || d.dm.live == nil {
		return nil
	}
	if l, ok := d.dm.live.targets[0].impl.(*linear); ok {
		return l.d
	}
	return nil
}

func (k *Kernel) protected(d *device) error {
	s := imageOf(d)
	switch {
	case s == nil && shownBy(d) != nil:
		return k.protected(shownBy(d))
	case s == nil:
		return fmt.Errorf("%s carries no live snapshot", d.name)
	case !s.valid || !s.active:
		return fmt.Errorf("%s is invalid or was never resumed", d.name)
	case imageOf(s.origin) != nil:
		return k.protected(s.origin)
	}
	if sb := k.superOn(s.origin); sb != nil && !sb.ro {
		return fmt.Errorf("rule A: %s is mounted itself, below every snapshot-origin", s.origin.name)
	}
	if i := interposeOf(s.origin); i != nil && (i.front == nil || i.bypassed > 0) {
		return fmt.Errorf("rule A: writes to %s do not all go through a front", i.d.name)
	}
	live := slices.DeleteFunc(slices.Clone(k.origins[s.origin.no]), func(o *origin) bool {
		return o.tg.table.md.live != o.tg.table
	})
	if len(live) == 0 {
		return fmt.Errorf("rule A: no live snapshot-origin over %s", s.origin.name)
	}
	for _, o := range live {
		if o.seq < s.resumed || o.split == 0 || o.split > s.store.bytes() {
			return fmt.Errorf("rule B: %s was not resumed after the snapshot", o.tg.table.md.name)
		}
	}
	return nil
}
