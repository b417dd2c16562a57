package plan

import "github.com/dmsnap/dmsnap/targets"

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

func storeSize(r CreateRequest, vr VolumeRequest) (targets.Sectors, error) {
	most := NeverFull(vr.Origin.Size, r.Chunk)
	size := min(most, vr.Store.Size)
	if vr.StoreSize != 0 {
		if vr.StoreSize > vr.Store.Size {
			return 0, Refuse(NoSpace, vr.Store.Path, "ask for at most what it has",
				"store %s has %d bytes, %d were asked for", vr.Store.Path, vr.Store.Size.Bytes(), vr.StoreSize.Bytes())
		}
		size = min(most, vr.StoreSize)
	}
	align := targets.Sectors(max(vr.Store.LogicalBlock, 512) / 512)
	size -= size % align
	if size < minChunks*r.Chunk {
		return 0, Refuse(NoSpace, vr.Store.Path, "use a larger store, or a smaller --chunk",
			"store %s of %d bytes is smaller than %d chunks of %d", vr.Store.Path, size.Bytes(), minChunks, r.Chunk.Bytes())
	}
	return size, nil
}
