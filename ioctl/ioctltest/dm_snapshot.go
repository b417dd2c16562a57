package ioctltest

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// snapshot is one instance of a snapshot or snapshot-merge target.
type snapshot struct {
	k           *Kernel
	tg          *target
	merge       bool
	origin      *device
	cow         *device
	features    []string
	store       *store
	valid       bool
	active      bool // resumed at least once: origin writes are copied
	overflowed  bool
	mergeFailed bool
	loadedOld   bool // the store's header was there already
	resumed     int
	cut         []cutFS
}

// cutFS is how a filesystem above the origin stood at the cut, and where on its
// device its files lay.
type cutFS struct {
	fstype string
	clean  bool
	taken  []place
}

func makeSnapshot(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) < 4 {
		return nil, unix.EINVAL
	}
	s := &snapshot{k: k, tg: tg, merge: tg.typ.name == "snapshot-merge", valid: true}
	if err := s.parseFeatures(args[4:]); err != nil {
		return nil, err
	}
	var err error
	if s.origin, err = k.hold(tg.table, args[0], !s.merge); err != nil {
		return nil, err
	}
	if d, err := k.lowerDevice(args[1]); err == nil && d == s.origin {
		return nil, unix.EINVAL
	}
	if s.cow, err = k.hold(tg.table, args[1], tg.table.ro); err != nil {
		return nil, err
	}
	if s.store, err = newStore(s, args[2], args[3]); err != nil {
		return nil, err
	}
	if err := s.register(); err != nil {
		return nil, err
	}
	return s, nil
}

var snapshotFeatures = []string{"discard_zeroes_cow", "discard_passdown_origin"}

func (s *snapshot) parseFeatures(args []string) error {
	if len(args) == 0 {
		return nil
	}
	n, ok := parseUint(args[0])
	if !ok || n > uint64(len(snapshotFeatures)) || n > uint64(len(args)-1) {
		return unix.EINVAL
	}
	for _, a := range args[1 : 1+n] {
		if !slices.Contains(snapshotFeatures, a) {
			return unix.EINVAL
		}
		s.features = append(s.features, a)
	}
	if slices.Contains(s.features, snapshotFeatures[1]) && !slices.Contains(s.features, snapshotFeatures[0]) {
		return unix.EINVAL
	}
	return nil
}

// sharing is __find_snapshots_sharing_cow.
func (s *snapshot) sharing() (src, dest, merging *snapshot, n int) {
	for _, o := range s.k.snaps[s.origin.no] {
		if o.merge {
			merging = o
		}
		if o.cow != s.cow {
			continue
		}
		if o.active {
			src = o
		} else {
			dest = o
		}
		n++
	}
	return src, dest, merging, n
}

// register adds the snapshot to its origin. A second one with the same store
// waits for the first one's exceptions and does not read the store.
func (s *snapshot) register() error {
	src, dest, merging, n := s.sharing()
	if n == 2 || dest != nil {
		return unix.EINVAL
	}
	handover := src != nil
	if handover && s.merge && (merging != nil || !src.store.persistent) {
		return unix.EINVAL
	}
	if handover {
		s.store.chunk = 0
	} else if err := s.readMetadata(); err != nil {
		return err
	}
	s.k.snaps[s.origin.no] = append(s.k.snaps[s.origin.no], s)
	return nil
}

func (s *snapshot) readMetadata() error {
	if s.k.ver.atLeast(7, 2) && slices.Contains(s.features, snapshotFeatures[0]) && s.store.chunk < 512 {
		return s.k.hang("divide error: discard_zeroes_cow with a chunk of %d sectors", s.store.chunk)
	}
	invalid, err := s.store.load()
	if err != nil {
		return err
	}
	s.valid = !invalid
	if s.store.chunk == 0 {
		return unix.EINVAL
	}
	return nil
}

func (s *snapshot) destroy() {
	src, dest, _, _ := s.sharing()
	if src == s && dest != nil {
		dest.valid = false
	}
	list := slices.DeleteFunc(s.k.snaps[s.origin.no], func(o *snapshot) bool { return o == s })
	s.k.snaps[s.origin.no] = list
}

func (s *snapshot) preresume() error {
	src, dest, _, _ := s.sharing()
	if src != nil && dest != nil {
		if s == src || !src.tg.table.md.suspended {
			return unix.EINVAL
		}
	}
	if s.merge && !s.store.persistent && src == nil && s.valid {
		if s.k.ver.atLeast(7, 2) {
			return unix.EINVAL
		}
		return s.k.hang("null pointer: direct merge of a transient snapshot by %s", s.tg.table.md.name)
	}
	return nil
}

func (s *snapshot) resume() {
	src, dest, _, _ := s.sharing()
	if src != nil && dest == s {
		s.takeOver(src)
	}
	if !s.active && !s.loadedOld {
		s.k.cuts[s.cow.no] = s.k.cutState(s.origin)
	}
	s.cut = s.k.cuts[s.cow.no]
	s.active = true
	s.k.seq++
	s.resumed = s.k.seq
	if s.merge && s.k.opts.MergeStep == 0 {
		s.mergeChunks(len(s.store.order))
	}
}

// takeOver moves the exceptions to the new instance; the old one is invalid
// in memory only.
func (s *snapshot) takeOver(src *snapshot) {
	overflowOK := s.store.overflowOK
	src.store, s.store = s.store, src.store
	src.store.snap, s.store.snap = src, s
	s.store.overflowOK = overflowOK
	s.valid, src.valid = src.valid, false
	s.active = true
}

// cutState looks at every filesystem that can write to a device, or will when the
// front beneath it is resumed.
func (k *Kernel) cutState(origin *device) []cutFS {
	above := func(d *device) bool {
		if d.dm != nil && d.dm.inactive != nil {
			for _, use := range d.dm.inactive.uses {
				if use.d == origin {
					return true
				}
			}
		}
		return d == origin
	}
	var all []cutFS
	for _, sb := range k.supers {
		if sb.bdev != nil && slices.ContainsFunc(k.closure(sb.bdev), above) {
			all = append(all, cutFS{sb.fstype, sb.frozen > 0 || sb.ro, k.taken(sb)})
		}
	}
	return all
}

func (s *snapshot) cutClean() bool {
	return !slices.ContainsFunc(s.cut, func(c cutFS) bool { return !c.clean })
}

// imageOf is the snapshot that a device shows, or nil.
func imageOf(d *device) *snapshot {
	if d.dm == nil || d.dm.live == nil {
		return nil
	}
	s, _ := d.dm.live.targets[0].impl.(*snapshot)
	return s
}

func (s *snapshot) line() string {
	text := fmt.Sprintf("%s %s %s %d", devText(s.origin.no), devText(s.cow.no), s.store.kind(), s.store.chunk)
	if n := len(s.features); n > 0 {
		text += fmt.Sprintf(" %d %s", n, strings.Join(s.features, " "))
	}
	return text
}

func (s *snapshot) status() string {
	if s.merge && s.active && !s.tg.table.md.suspended {
		s.mergeChunks(s.k.opts.MergeStep)
	}
	switch {
	case !s.valid:
		return "Invalid"
	case s.mergeFailed:
		return "Merge failed"
	case s.overflowed:
		return "Overflow"
	}
	alloc, meta := s.store.usage()
	return fmt.Sprintf("%d/%d %d", alloc, s.cow.size(), meta)
}

func (s *snapshot) areas() []area {
	return []area{{s.origin, 0, s.tg.length}, {s.cow, 0, s.cow.size()}}
}

// invalidate is __invalidate_snapshot.
func (s *snapshot) invalidate() {
	if !s.valid {
		return
	}
	s.valid = false
	s.store.drop()
	s.k.tableEvent(s.tg.table.md)
}
