package format_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/store/format"
)

// TestMissing: an older store of 512-byte chunks, and a newer one whose chunks are
// four times as large, of an origin that ends within one of them.
func TestMissing(t *testing.T) {
	older, newer := newDisk(200), newDisk(200)
	older.put(0, 0, 5, 2)
	older.put(0, 1, 9, 3)
	older.put(0, 2, 10, 4) // the kernel does not know of it
	binary.LittleEndian.PutUint32(newer[12:], 4)
	for i, old := range []uint64{1, 2, 25} {
		binary.LittleEndian.PutUint64(newer[4*chunk+16*i:], old)
		binary.LittleEndian.PutUint64(newer[4*chunk+16*i+8:], uint64(2+i))
	}
	for _, row := range []struct {
		known uint64
		want  []uint64
	}{
		{4 * chunk, []uint64{4, 6, 7, 8, 10, 11, 100, 101}},
		{5 * chunk, []uint64{4, 6, 7, 8, 11, 100, 101}},
	} {
		missing, err := format.Missing(open(t, older), open(t, newer), 102*chunk, row.known)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(missing.All()); !slices.Equal(got, row.want) || missing.Len() != uint64(len(row.want)) {
			t.Errorf("%d: %v, want %v", missing.Len(), got, row.want)
		}
	}
	small, err := format.Missing(open(t, newer), open(t, older), 102*chunk, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(small.All()); len(got) != 0 {
		t.Errorf("the other way round: %v", got)
	}
}

// TestWith: what a store is said to need is enough, as its own usage tells.
func TestWith(t *testing.T) {
	for _, had := range []int{0, 1, 31, 32, 33, 64} {
		for _, more := range []int{1, 30, 31, 32, 33, 100} {
			before, err := open(t, newDisk(400).fill(had)).Usage()
			if err != nil {
				t.Fatal(err)
			}
			after, err := open(t, newDisk(400).fill(had+more)).Usage()
			if err != nil {
				t.Fatal(err)
			}
			if with := open(t, newDisk(400)).With(before.Used, uint64(more)); with < after.Used {
				t.Errorf("%d and %d: %d bytes, %d are used", had, more, with, after.Used)
			}
		}
	}
}
