package ioctltest

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// The persistent exception store, dm-snap-persistent.c.
const (
	storeMagic   = 0x70416e53
	storeVersion = 1
	defaultChunk = 32
	maxChunk     = 1 << 21
)

// store is an exception store: persistent on the cow device, or transient in
// memory with only the data there.
type store struct {
	k          *Kernel
	snap       *snapshot
	cow        *device
	persistent bool
	overflowOK bool
	chunk      uint64 // sectors; 0 until known
	next       uint64 // next free chunk
	area       uint64
	committed  uint64 // records in the current area
	exceptions map[uint64]uint64
	order      []uint64 // old chunks as they were committed
}

func newStore(s *snapshot, kind, chunk string) (*store, error) {
	st := &store{k: s.k, snap: s, cow: s.cow, exceptions: map[uint64]uint64{}}
	switch kind = strings.ToUpper(kind); {
	case kind == "P":
		st.persistent, st.next = true, 2
	case strings.HasPrefix(kind, "PO"):
		st.persistent, st.overflowOK, st.next = true, true, 2
	case !strings.HasPrefix(kind, "N"):
		return nil, unix.EINVAL
	}
	sectors, ok := parseUint(chunk)
	if !ok || !chunkOK(s, sectors) {
		return nil, unix.EINVAL
	}
	st.chunk = sectors
	return st, nil
}

func chunkOK(s *snapshot, chunk uint64) bool {
	if chunk == 0 {
		return true
	}
	return chunk&(chunk-1) == 0 && chunk <= maxChunk &&
		chunk%uint64(s.cow.logical/sectorSize) == 0 && chunk%uint64(s.origin.logical/sectorSize) == 0
}

func (st *store) kind() string {
	switch {
	case !st.persistent:
		return "N"
	case st.overflowOK:
		return "PO"
	}
	return "P"
}

func (st *store) bytes() uint64   { return st.chunk * sectorSize }
func (st *store) perArea() uint64 { return st.bytes() / 16 }

func (st *store) areaChunk(area uint64) uint64 { return 1 + (st.perArea()+1)*area }

// usage is the allocated and metadata sectors of the status line.
func (st *store) usage() (alloc, meta uint64) {
	if !st.persistent {
		return st.next * st.chunk, 0
	}
	return st.next * st.chunk, (st.area + 2) * st.chunk
}

// load reads the header, writing a new one if its first word is zero. The
// header's chunk size counts, not the table's.
func (st *store) load() (invalid bool, err error) {
	if !st.persistent {
		return false, nil
	}
	if st.chunk == 0 {
		st.chunk = defaultChunk
	}
	head := make([]byte, st.bytes())
	if err := st.k.read(st.cow, 0, head); err != nil {
		return false, err
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(head[4*i:]) }
	switch word(0) {
	case 0:
		return false, st.format()
	case storeMagic:
	default:
		return false, unix.ENXIO
	}
	st.snap.loadedOld = true
	if chunk := uint64(word(3)); chunk != st.chunk {
		if chunk == 0 || !chunkOK(st.snap, chunk) {
			return false, unix.EINVAL
		}
		st.chunk = chunk
	}
	if word(2) != storeVersion {
		return false, unix.EINVAL
	}
	if word(1) == 0 {
		return true, nil
	}
	return false, st.readAreas()
}

func (st *store) format() error {
	if err := st.writeHeader(1); err != nil {
		return err
	}
	// A store too small for its first area shows at the first exception.
	if err := st.zeroArea(0); err == unix.EDEADLK {
		return err
	}
	return nil
}

func (st *store) writeHeader(valid uint32) error {
	head := make([]byte, st.bytes())
	for i, v := range []uint32{storeMagic, valid, storeVersion, uint32(st.chunk)} {
		binary.LittleEndian.PutUint32(head[4*i:], v)
	}
	return st.k.write(st.cow, 0, head)
}

func (st *store) zeroArea(area uint64) error {
	return st.k.write(st.cow, st.areaChunk(area)*st.bytes(), make([]byte, st.bytes()))
}

// readAreas reads the records up to the first with a new chunk of zero.
func (st *store) readAreas() error {
	buf := make([]byte, st.bytes())
	for ; ; st.area++ {
		if err := st.k.read(st.cow, st.areaChunk(st.area)*st.bytes(), buf); err != nil {
			return err
		}
		for st.committed = 0; st.committed < st.perArea(); st.committed++ {
			rec := buf[16*st.committed:]
			from, to := binary.LittleEndian.Uint64(rec), binary.LittleEndian.Uint64(rec[8:])
			if to == 0 {
				st.skipArea()
				return nil
			}
			st.exceptions[from] = to
			st.order = append(st.order, from)
			st.next = max(st.next, to+1)
		}
	}
}

func (st *store) skipArea() {
	if st.next%(st.perArea()+1) == 1 {
		st.next++
	}
}

// prepare allocates a chunk.
func (st *store) prepare() (uint64, bool) {
	if st.cow.size() < (st.next+1)*st.chunk {
		return 0, false
	}
	chunk := st.next
	st.next++
	if st.persistent {
		st.skipArea()
	}
	return chunk, true
}

// commit makes an exception count. Filling an area exactly zeroes the next
// one, which must lie inside the device.
func (st *store) commit(from, to uint64) error {
	if st.persistent {
		if err := st.record(st.committed, from, to); err != nil {
			return err
		}
		st.committed++
		if st.committed == st.perArea() {
			if err := st.zeroArea(st.area + 1); err != nil {
				return err
			}
			st.area, st.committed = st.area+1, 0
		}
	}
	st.exceptions[from] = to
	st.order = append(st.order, from)
	return nil
}

func (st *store) record(i, from, to uint64) error {
	var rec [16]byte
	binary.LittleEndian.PutUint64(rec[:], from)
	binary.LittleEndian.PutUint64(rec[8:], to)
	return st.k.write(st.cow, st.areaChunk(st.area)*st.bytes()+16*i, rec[:])
}

// forget drops the last exception, after a merge of its chunk.
func (st *store) forget() error {
	last := len(st.order) - 1
	delete(st.exceptions, st.order[last])
	st.order = st.order[:last]
	if st.committed == 0 {
		if st.area == 0 {
			return nil
		}
		st.area, st.committed = st.area-1, st.perArea()
	}
	st.committed--
	st.next = st.areaChunk(st.area) + st.committed + 1
	return st.record(st.committed, 0, 0)
}

// drop marks the store invalid for good.
func (st *store) drop() {
	if st.persistent && st.chunk != 0 {
		// A store that cannot be written is invalid in memory only.
		_ = st.writeHeader(0)
	}
}
