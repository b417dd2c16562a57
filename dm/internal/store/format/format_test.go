package format_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/store/format"
)

// disk is a store of 512-byte chunks: 32 records to an area, areas at chunks 1,
// 34, 67.
type disk []byte

const chunk = 512

func newDisk(chunks int) disk {
	d := make(disk, chunks*chunk)
	for i, word := range []uint32{0x70416e53, 1, 1, chunk / 512} {
		binary.LittleEndian.PutUint32(d[4*i:], word)
	}
	return d
}

func (d disk) put(area, record int, old, new uint64) {
	at := (1+area*33)*chunk + record*16
	binary.LittleEndian.PutUint64(d[at:], old)
	binary.LittleEndian.PutUint64(d[at+8:], new)
}

// fill puts n records the way the kernel does: data chunks in order, areas left out.
func (d disk) fill(n int) disk {
	next := uint64(2)
	for i := range n {
		d.put(i/32, i%32, uint64(1000+i), next)
		if next++; next%33 == 1 {
			next++
		}
	}
	return d
}

func open(t *testing.T, d disk) *format.Store {
	t.Helper()
	s, err := format.Open(bytes.NewReader(d), int64(len(d)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUsage(t *testing.T) {
	holes := newDisk(200)
	holes.put(0, 0, 7, 2)
	holes.put(0, 1, 8, 5)
	beforeArea := newDisk(200)
	beforeArea.put(0, 0, 7, 33)
	for name, row := range map[string]struct {
		disk disk
		want format.Usage // in chunks
	}{
		"fresh":              {newDisk(200), format.Usage{Exceptions: 0, Used: 2, Metadata: 2}},
		"one":                {newDisk(200).fill(1), format.Usage{Exceptions: 1, Used: 3, Metadata: 2}},
		"one less than full": {newDisk(200).fill(31), format.Usage{Exceptions: 31, Used: 33, Metadata: 2}},
		"exactly full":       {newDisk(200).fill(32), format.Usage{Exceptions: 32, Used: 35, Metadata: 3}},
		"two areas":          {newDisk(200).fill(33), format.Usage{Exceptions: 33, Used: 36, Metadata: 3}},
		"two areas full":     {newDisk(200).fill(64), format.Usage{Exceptions: 64, Used: 68, Metadata: 4}},
		"holes":              {holes, format.Usage{Exceptions: 2, Used: 6, Metadata: 2}},
		"last before area":   {beforeArea, format.Usage{Exceptions: 1, Used: 35, Metadata: 2}},
	} {
		got, err := open(t, row.disk).Usage()
		row.want.Used, row.want.Metadata = row.want.Used*chunk, row.want.Metadata*chunk
		if err != nil || got != row.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, row.want)
		}
	}
}

func TestExceptions(t *testing.T) {
	s := open(t, newDisk(200).fill(40))
	var all []format.Exception
	for e, err := range s.Exceptions() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	// Number 32 is the first of the second area, behind it.
	if len(all) != 40 || all[0] != (format.Exception{Old: 1000, New: 2}) || all[32] != (format.Exception{Old: 1032, New: 35}) {
		t.Errorf("%d exceptions: %v", len(all), all)
	}
	for e := range s.Exceptions() {
		if e.Old == 1003 {
			break // a reader may stop
		}
	}
}

func TestHeader(t *testing.T) {
	spoil := func(at int, value byte) disk {
		d := newDisk(8)
		d[at] = value
		return d
	}
	for name, row := range map[string]struct {
		disk disk
		want error // nil: damaged
	}{
		"new":               {make(disk, 8*chunk), format.ErrNew},
		"something else":    {spoil(0, 'x'), format.ErrForeign},
		"newer":             {spoil(8, 2), format.ErrVersion},
		"no chunk":          {spoil(12, 0), nil},
		"chunk of no power": {spoil(12, 3), nil},
		"chunk too large":   {spoil(15, 0x80), nil},
		"no room":           {newDisk(8)[:100], nil},
	} {
		_, err := format.Open(bytes.NewReader(row.disk), int64(len(row.disk)))
		damaged, isDamaged := errors.AsType[*format.DamagedError](err)
		if row.want != nil && !errors.Is(err, row.want) || row.want == nil && (!isDamaged || damaged.Error() == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := open(t, spoil(4, 0)); s.Valid {
		t.Error("a store the kernel gave up is valid")
	}
	if s := open(t, newDisk(8)); !s.Valid || s.Chunk != chunk {
		t.Errorf("%+v", s.Header)
	}
}

func TestDamage(t *testing.T) {
	beyond, area, cut := newDisk(40), newDisk(40), newDisk(34).fill(32)
	beyond.put(0, 0, 1, 40)
	area.put(0, 3, 1, 34)
	area.fill(3)
	for name, row := range map[string]struct {
		disk disk
		at   int64
	}{
		"record beyond the end": {beyond, chunk},
		"record of an area":     {area, chunk + 3*16},
		"area beyond the end":   {cut, 34 * chunk},
	} {
		_, err := open(t, row.disk).Usage()
		d, ok := errors.AsType[*format.DamagedError](err)
		if !ok || d.Offset != row.at {
			t.Errorf("%s: %v", name, err)
		}
		var last error
		for _, err := range open(t, row.disk).Exceptions() {
			last = err
		}
		if last == nil {
			t.Errorf("%s: the iteration does not say so", name)
		}
	}
}

// TestReadFails: errors of the medium are passed on, and short reads are no data.
func TestReadFails(t *testing.T) {
	d := newDisk(200).fill(40)
	short := d[:20*chunk]
	if _, err := format.Open(bytes.NewReader(nil), 4096); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	s, err := format.Open(bytes.NewReader(short), int64(len(d)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Usage(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	s, err = format.Open(failing{d}, int64(len(d)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Usage(); !errors.Is(err, errMedium) {
		t.Error(err)
	}
}

var errMedium = errors.New("medium error")

// failing has a bad second area.
type failing struct{ disk }

func (f failing) ReadAt(b []byte, at int64) (int, error) {
	if at >= 34*chunk {
		return 0, errMedium
	}
	return bytes.NewReader(f.disk).ReadAt(b, at)
}

// FuzzUsage: whatever is on a device, reading it ends, and what is accepted adds
// up.
func FuzzUsage(f *testing.F) {
	f.Add([]byte(newDisk(8).fill(3)))
	f.Add([]byte(newDisk(40).fill(32)))
	f.Add([]byte(newDisk(80).fill(64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := format.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		u, err := s.Usage()
		if err != nil {
			return
		}
		var seen []format.Exception
		for e, err := range s.Exceptions() {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, e)
		}
		last := slices.MaxFunc(append(seen, format.Exception{New: 1}), func(a, b format.Exception) int { return int(a.New) - int(b.New) })
		if uint64(len(seen)) != u.Exceptions || u.Used < (last.New+1)*s.Chunk || u.Metadata > uint64(len(b)) {
			t.Errorf("%+v of %d records, the last at %d", u, len(seen), last.New)
		}
	})
}
