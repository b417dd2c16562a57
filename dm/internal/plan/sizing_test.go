package plan_test

import (
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// persistentStore is the kernel's allocator of a persistent store of so many
// chunks (dm-snap-persistent.c: persistent_prepare_exception,
// persistent_commit_exception, area_location), one exception at a time.
type persistentStore struct {
	chunks, perArea uint64
	next            uint64 // next free chunk
	area, committed uint64 // current area, exceptions in it
}

// newStore writes the header and zeroes the first area.
func newStore(chunks, perArea uint64) (*persistentStore, bool) {
	return &persistentStore{chunks: chunks, perArea: perArea, next: 2}, chunks >= 2
}

// copyOut stores one chunk; false makes the snapshot invalid.
func (s *persistentStore) copyOut() bool {
	if s.chunks < s.next+1 {
		return false
	}
	s.next++
	if s.next%(s.perArea+1) == 1 { // an area is there
		s.next++
	}
	if s.committed++; s.committed < s.perArea {
		return true
	}
	s.area, s.committed = s.area+1, 0
	return 1+s.area*(s.perArea+1) < s.chunks // the next area is zeroed at once
}

// holds tells whether every chunk of an origin fits.
func holds(chunks, perArea, origin uint64) bool {
	s, ok := newStore(chunks, perArea)
	for range origin {
		ok = ok && s.copyOut()
	}
	return ok
}

// TestNeverFull: the size is enough, the exactly full area included, and no
// chunk could be spared.
func TestNeverFull(t *testing.T) {
	for _, chunk := range []targets.Sectors{1, 2, 8} {
		perArea := chunk.Bytes() / 16
		for n := uint64(1); n < 5*perArea+3; n++ {
			size := plan.NeverFull(targets.Sectors(n)*chunk, chunk)
			if size%chunk != 0 {
				t.Fatalf("chunk %d, origin of %d chunks: store of %d sectors", chunk, n, size)
			}
			chunks := uint64(size / chunk)
			if !holds(chunks, perArea, n) {
				t.Fatalf("chunk %d, origin of %d chunks: a store of %d overflows", chunk, n, chunks)
			}
			if holds(chunks-1, perArea, n) {
				t.Fatalf("chunk %d, origin of %d chunks: %d would do, not %d", chunk, n, chunks-1, chunks)
			}
		}
	}
}

// TestNeverFullOfPartChunk: the last chunk of an origin may be cut short.
func TestNeverFullOfPartChunk(t *testing.T) {
	for origin := targets.Sectors(1); origin <= 300; origin++ {
		got, want := plan.NeverFull(origin, 8), plan.NeverFull((origin+7)/8*8, 8)
		if got != want {
			t.Fatalf("origin of %d sectors: %d, not %d", origin, got, want)
		}
	}
}

// TestNeverFullOfHugeOrigins: no overflow up to the kernel's largest device.
func TestNeverFullOfHugeOrigins(t *testing.T) {
	const most = targets.Sectors(1<<54 - 1)
	for chunk := targets.Sectors(8); chunk <= targets.MaxChunk; chunk *= 2 {
		if got := plan.NeverFull(most, chunk); got < most || got > most+most/32+4*chunk {
			t.Errorf("chunk %d: %d", chunk, got)
		}
	}
}

// TestChunkOfLargeStores: nobody asked, and the kernel's table of the chunks stays
// small; who asks gets what was asked for.
func TestChunkOfLargeStores(t *testing.T) {
	const tib = 1024 * gib
	for _, row := range []struct{ origin, store, asked, want targets.Sectors }{
		{origin: gib, store: gib, want: plan.UsualChunk},
		{origin: 64 * tib, store: tib / 4, want: plan.UsualChunk},
		{origin: 64 * tib, store: tib/4 + plan.UsualChunk, want: 2 * plan.UsualChunk},
		{origin: 64 * tib, store: 16 * tib, want: 64 * plan.UsualChunk},
		{origin: tib / 8, store: 16 * tib, want: plan.UsualChunk},
		{origin: 1<<54 - 1, store: 1<<54 - 1, want: targets.MaxChunk},
		{origin: 64 * tib, store: 16 * tib, asked: 8, want: 8},
	} {
		r := request(volume("a", 0, func(v *plan.VolumeRequest) { v.Origin.Size, v.Store.Size = row.origin, row.store }))
		r.Chunk = row.asked
		p, err := plan.Create(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Volumes[0].Chunk; got != row.want {
			t.Errorf("origin of %d, store of %d: chunk %d, not %d", row.origin, row.store, got, row.want)
		}
	}
}

func TestStoreSize(t *testing.T) {
	never := plan.NeverFull(gib, 128)
	for name, row := range map[string]struct {
		store, asked targets.Sectors
		logical      uint32
		want         targets.Sectors
	}{
		"smaller than can be needed": {store: 1 << 20, want: 1 << 20},
		"larger than can be needed":  {store: 100 * gib, want: never},
		"exactly what can be needed": {store: never, want: never},
		"asked":                      {store: 100 * gib, asked: 4096, want: 4096},
		"asked for all":              {store: 8192, asked: 8192, want: 8192},
		"asked more than needed":     {store: 100 * gib, asked: 50 * gib, want: never},
		"smallest":                   {store: 3 * 128, want: 3 * 128},
		"smallest asked":             {store: gib, asked: 3 * 128, want: 3 * 128},
		"large sectors":              {store: gib, asked: 4097, logical: 4096, want: 4096},
		"large sectors, whole":       {store: 4103, logical: 4096, want: 4096},
		"part of a chunk at the end": {store: 4*128 + 1, want: 4*128 + 1},
	} {
		r := request(volume("a", 0, func(v *plan.VolumeRequest) {
			v.Store.Size, v.StoreSize, v.Store.LogicalBlock = row.store, row.asked, max(row.logical, 512)
			v.Origin.LogicalBlock = v.Store.LogicalBlock
		}))
		p, err := plan.Create(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.Volumes[0].StoreSize; got != row.want {
			t.Errorf("%s: %d sectors, not %d", name, got, row.want)
		}
		for _, s := range p.Steps {
			if s.Action == plan.LoadTable && s.Role == plan.RoleStore && s.Table.Size() != row.want {
				t.Errorf("%s: store table %s", name, s.Table)
			}
		}
	}
}
