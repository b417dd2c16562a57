package plan

import (
	"fmt"

	"github.com/dmsnap/dmsnap/targets"
)

// exceptionBytes is the size of one record in a persistent store's exception
// area (dm-snap-persistent.c, struct disk_exception).
const exceptionBytes = 16

// headerBytes covers a store's header and is a whole number of sectors on every
// device. What follows the header means nothing without it.
const headerBytes = 4096

// wipeBytes covers every place at which a superblock is looked for.
const wipeBytes = 1 << 20

// minChunks is the smallest store that survives its first write: header, area
// and one data chunk (docs/kernel-notes.md).
const minChunks = 3

// UsualChunk is the default unit of copying: small chunks cost
// large writes a copy each, large ones copy more than is written
// (docs/benchmarks.md).
const UsualChunk targets.Sectors = 64 << 10 / 512

// maxExceptions is the most that a store is laid out for by default. The kernel
// keeps each in memory as long as the set lives, 32 bytes (dm-snap.c, struct
// dm_exception): 128 MiB. A store that large is meant for a long life and for
// most of a large origin; its chunks are larger.
const maxExceptions = 4 << 20

// NeverFull is the size of a store that cannot overflow, whatever is written to
// the origin: a chunk for each of the origin's, the header, and the exception
// areas. The area chunk after a full one is counted too: it is zeroed when the
// one before fills, and a store that ends there becomes invalid though all data
// fits. A transient store needs the data chunks only; the difference is small
// and lets a set change its mode.
func NeverFull(origin, chunk targets.Sectors) targets.Sectors {
	n := (uint64(origin) + uint64(chunk) - 1) / uint64(chunk)
	perArea := chunk.Bytes() / exceptionBytes
	return targets.Sectors(1+n+(n+perArea)/perArea) * chunk
}

// What a store that dmsnap makes is sized by: a part of what is in use, and the
// writes of some time, since writes go on where they went before.
const (
	usedShare    = 10 // a tenth
	rateSeconds  = 600
	leastDefault = 64 << 20
)

// Wanted is the default size of a store that dmsnap makes.
func Wanted(origin, chunk targets.Sectors, d Demand) targets.Sectors {
	bytes := max(leastDefault, d.Used/usedShare+min(d.Rate, 1<<40)*rateSeconds)
	return min(NeverFull(origin, chunk), targets.Sectors(bytes/512))
}

// Least is the smallest store worth making without being asked for its size.
func Least(origin, chunk targets.Sectors) targets.Sectors {
	return min(NeverFull(origin, chunk), max(minChunks*chunk, leastDefault/512/4))
}

func storeSize(chunk targets.Sectors, vr VolumeRequest) (targets.Sectors, error) {
	most, s := NeverFull(vr.Origin.Size, chunk), vr.Store
	if vr.StoreSize > s.Size {
		return 0, Refuse(NoSpace, s.Path, fmt.Sprintf("ask for at most %dk", s.Size.Bytes()>>10),
			"store %s has room for %d bytes, %d were requested", s.label(), s.Size.Bytes(), vr.StoreSize.Bytes())
	}
	size, align := min(most, s.Size, vr.limit()), targets.Sectors(max(s.LogicalBlock, 512)/512)
	switch {
	case vr.StoreSize != 0:
		size = min(most, vr.StoreSize)
	case s.Backing != Whole:
		// Not all there is: others need room too.
		size = min(size, Wanted(vr.Origin.Size, chunk, s.Demand), max(s.Size/2, Least(vr.Origin.Size, chunk)))
		if least := min(Least(vr.Origin.Size, chunk), vr.limit()); size < least {
			return 0, Refuse(NoSpace, s.Path, "name another store, or give a --size that fits", "store %s has room for %d bytes; the minimum is %d", s.label(), s.Size.Bytes(), least.Bytes())
		}
	}
	if s.Backing != Whole {
		align = max(align, 8) // whole blocks of a filesystem, or pages
	}
	size -= size % align
	if size < minChunks*chunk {
		return 0, Refuse(NoSpace, s.Path, "use a larger store, or a smaller --chunk",
			"store %s of %d bytes is smaller than %d chunks of %d", s.label(), size.Bytes(), minChunks, chunk.Bytes())
	}
	return size, nil
}

func (vr VolumeRequest) limit() targets.Sectors {
	if vr.Limit == 0 {
		return 1 << 54
	}
	return vr.Limit
}

// label names a store in messages.
func (s Store) label() string {
	if s.Backing == Memory {
		return "in memory"
	}
	return s.Path
}
