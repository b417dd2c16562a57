package plan_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// TestRows: each sector of a store lies where the file's sector lies, through any way down; rows that go on where the
// last one ended are one.
func TestRows(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		file, way := plan.File{Path: "/x", Over: "base"}, randomWay(r)
		file.Way = way
		pieces, size := randomPieces(r)
		file.Bytes = (size - targets.Sectors(r.IntN(7))).Bytes() // the last block may be cut
		rows, err := file.Rows(pieces)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if rows.Size().Bytes() != file.Bytes {
			t.Fatalf("seed %d: %d bytes of %d", seed, rows.Size().Bytes(), file.Bytes)
		}
		for i, row := range rows {
			l := row.Target.(targets.Linear)
			if i > 0 && rows[i-1].Target.(targets.Linear).Offset+rows[i-1].Length == l.Offset {
				t.Errorf("seed %d: rows %d and %d are one", seed, i-1, i)
			}
			for s := range row.Length {
				if want := down(way, onDevice(pieces, row.Start+s)); want != l.Offset+s {
					t.Fatalf("seed %d: sector %d is at %d, want %d", seed, row.Start+s, l.Offset+s, want)
				}
			}
		}
	}
}

func randomWay(r *rand.Rand) (way []plan.Stretch) {
	start := targets.Sectors(0)
	for range 1 + r.IntN(4) {
		s := plan.Stretch{Start: start, Length: targets.Sectors(8 * (1 + r.IntN(100))), Offset: targets.Sectors(8 * r.IntN(1000))}
		way, start = append(way, s), start+s.Length
	}
	way[len(way)-1].Length += 1 << 20
	return way
}

func randomPieces(r *rand.Rand) (pieces []plan.Stretch, size targets.Sectors) {
	for range 1 + r.IntN(6) {
		p := plan.Stretch{Start: size, Length: targets.Sectors(8 * (1 + r.IntN(40))), Offset: targets.Sectors(8 * r.IntN(500))}
		pieces, size = append(pieces, p), size+p.Length
	}
	return pieces, size
}

func onDevice(pieces []plan.Stretch, s targets.Sectors) targets.Sectors { return down(pieces, s) }

func down(way []plan.Stretch, s targets.Sectors) targets.Sectors {
	for _, w := range way {
		if s >= w.Start && s < w.Start+w.Length {
			return w.Offset + s - w.Start
		}
	}
	return 1 << 50
}

// TestRowsRefused: a file with a hole, one too short, one in too many pieces, one that leads off the way.
func TestRowsRefused(t *testing.T) {
	whole := []plan.Stretch{{Length: 1 << 30}}
	many := make([]plan.Stretch, 20001)
	for i := range many {
		many[i] = plan.Stretch{Start: targets.Sectors(8 * i), Length: 8, Offset: targets.Sectors(16 * i)}
	}
	for says, row := range map[string]struct {
		pieces []plan.Stretch
		way    []plan.Stretch
		size   targets.Sectors
	}{
		"hole at byte 4096": {[]plan.Stretch{{Length: 8}, {Start: 16, Length: 8}}, whole, 24},
		"hole at byte 0":    {[]plan.Stretch{{Start: 8, Length: 8}}, whole, 16},
		"ends at byte 4096": {[]plan.Stretch{{Length: 8}}, whole, 16},
		"20001 extents":     {many, whole, 8 * 20001},
		"is not mapped":     {[]plan.Stretch{{Length: 8, Offset: 64}}, []plan.Stretch{{Length: 64}}, 8},
	} {
		f := plan.File{Path: "/x", Over: "base", Way: row.way, Bytes: row.size.Bytes()}
		_, err := f.Rows(row.pieces)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
		if r, ok := errors.AsType[*plan.Refusal](err); ok && r.Hint == "" {
			t.Errorf("%v has no hint", err)
		}
	}
}

// TestMadeStoresAreSized by what is in use and what is written, within what there is.
func TestMadeStoresAreSized(t *testing.T) {
	const mib = targets.Sectors(2048)
	for name, row := range map[string]struct {
		change func(v *plan.VolumeRequest)
		want   targets.Sectors // 0: refused
	}{
		"little is known":   {func(*plan.VolumeRequest) {}, 64 * mib},
		"a tenth of used":   {func(v *plan.VolumeRequest) { v.Store.Demand.Used = 1 << 30 }, 102*mib + 819},
		"ten minutes":       {func(v *plan.VolumeRequest) { v.Store.Demand.Rate = 1 << 18 }, 150 * mib},
		"never more":        {func(v *plan.VolumeRequest) { v.Store.Demand.Rate = 1 << 50 }, plan.NeverFull(gib, 128)},
		"half of the room":  {func(v *plan.VolumeRequest) { v.Store.Demand.Used, v.Store.Size = 1<<40, 200*mib }, 100 * mib},
		"little room":       {func(v *plan.VolumeRequest) { v.Store.Demand.Used, v.Store.Size = 1<<40, 20*mib }, 16 * mib},
		"no room":           {func(v *plan.VolumeRequest) { v.Store.Size = 10 * mib }, 0},
		"limited":           {func(v *plan.VolumeRequest) { v.Store.Demand.Used, v.Limit = 1<<40, 30*mib }, 30 * mib},
		"limited to little": {func(v *plan.VolumeRequest) { v.Limit = mib }, mib},
		"asked for":         {func(v *plan.VolumeRequest) { v.StoreSize, v.Limit = 3*mib+1, mib }, 3 * mib},
		"too much":          {func(v *plan.VolumeRequest) { v.StoreSize = 5000 * mib }, 0},
	} {
		v := volume("home", 0, inFile("/home/cow", 0))
		v.Store.Size = 4000 * mib
		row.change(&v)
		p, err := plan.Create(request(v))
		if row.want == 0 {
			if r, ok := errors.AsType[*plan.Refusal](err); !ok || r.Kind != plan.NoSpace || r.Hint == "" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.Volumes[0].StoreSize; got != row.want-row.want%8 || p.Volumes[0].File.Bytes != got.Bytes() {
			t.Errorf("%s: %d sectors, want %d", name, got, row.want)
		}
	}
}

// TestPartsOfTables: what a store has of a file, after it went on elsewhere and
// came back, is the file's table up to there.
func TestPartsOfTables(t *testing.T) {
	base, disk := targets.DevNo{Major: 254, Minor: 1}, targets.DevNo{Major: 252}
	row := func(start, length targets.Sectors, on targets.DevNo, offset targets.Sectors) targets.Row {
		return targets.Row{Start: start, Length: length, Target: targets.Linear{Dev: targets.Device{DevNo: on}, Offset: offset}}
	}
	live := targets.Table{row(0, 8, base, 100), row(8, 16, disk, 0), row(24, 8, base, 108), row(32, 8, base, 200)}
	on := plan.On(live, base)
	if want := (targets.Table{row(0, 16, base, 100), row(16, 8, base, 200)}); !on.Equal(want) {
		t.Errorf("on the base:\n%s\nwant\n%s", on, want)
	}
	if rest, want := plan.From(on, 12), (targets.Table{row(0, 4, base, 112), row(4, 8, base, 200)}); !rest.Equal(want) {
		t.Errorf("from 12 on:\n%s\nwant\n%s", rest, want)
	}
	if rest := plan.From(on, 24); len(rest) > 0 {
		t.Errorf("from the end on: %s", rest)
	}
	first, second := plan.File{Bytes: 16 * 512}, plan.File{At: 32 * 512, Bytes: 8 * 512}
	if got, want := first.Part(live, base), (targets.Table{row(0, 16, base, 100)}); !got.Equal(want) {
		t.Errorf("of the first file:\n%s\nwant\n%s", got, want)
	}
	if got, want := second.Part(live, base), (targets.Table{row(0, 8, base, 200)}); !got.Equal(want) {
		t.Errorf("of the second:\n%s\nwant\n%s", got, want)
	}
}

// TestCloseUp: what a file with holes has, up to its tail, in order.
func TestCloseUp(t *testing.T) {
	pieces := []plan.Stretch{{Start: 0, Length: 8, Offset: 100}, {Start: 16, Length: 8, Offset: 300}, {Start: 24, Length: 40, Offset: 200}, {Start: 80, Length: 8, Offset: 400}}
	want := []plan.Stretch{{Start: 0, Length: 8, Offset: 100}, {Start: 8, Length: 8, Offset: 300}, {Start: 16, Length: 16, Offset: 200}}
	if got, size := plan.CloseUp(pieces, 40); size != 32 || !slices.Equal(got, want) {
		t.Errorf("%d sectors: %v", size, got)
	}
}
