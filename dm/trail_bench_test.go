package dm

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/extents"
	"github.com/dmsnap/dmsnap/dm/internal/store/format"
)

// recordsOnly is a store without its data: areas are where the kernel has them.
type recordsOnly struct {
	chunk  int64
	header []byte
	areas  []byte
}

func (r *recordsOnly) ReadAt(p []byte, at int64) (int, error) {
	if at < r.chunk {
		return copy(p, r.header[at:]), nil
	}
	apart := (r.chunk/16 + 1) * r.chunk // from one area to the next
	from := (at-r.chunk)/apart*r.chunk + (at-r.chunk)%apart
	return copy(p, r.areas[from:]), nil
}

// BenchmarkChangedList makes the list of a volume of 1 TiB in chunks of 64 KiB, one in
// twenty changed, from records in memory.
func BenchmarkChangedList(b *testing.B) {
	const size, chunk = uint64(1) << 40, uint64(64) << 10
	const changed = int(size / chunk / 20)
	const perArea = int(chunk / 16)
	disk := &recordsOnly{chunk: int64(chunk), header: make([]byte, chunk), areas: make([]byte, (changed/perArea+1)*int(chunk))}
	for i, word := range []uint32{0x70416e53, 1, 1, uint32(chunk / 512)} {
		binary.LittleEndian.PutUint32(disk.header[4*i:], word)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for n := range changed {
		binary.LittleEndian.PutUint64(disk.areas[16*n:], r.Uint64N(size/chunk))
		binary.LittleEndian.PutUint64(disk.areas[16*n+8:], uint64(n/perArea*(perArea+1)+n%perArea+2))
	}
	t := &trail{size: size, unit: chunk, largest: chunk}
	b.ReportAllocs()
	for b.Loop() {
		f, err := format.Open(disk, int64(size))
		if err != nil {
			b.Fatal(err)
		}
		w := extents.NewWindow(extents.Extent{End: size}, chunk)
		if err := markAll(w, t, recorded{chunk: chunk}, f); err != nil {
			b.Fatal(err)
		}
		found := 0
		for range w.All() {
			found++
		}
		if found < changed/2 {
			b.Fatal(found)
		}
	}
}
