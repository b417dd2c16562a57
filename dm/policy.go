package dm

import (
	"github.com/dmsnap/dmsnap/dm/internal/store"
)

// Policy says what dmsnap chooses where a request leaves it open. The zero value
// is a usable default.
type Policy struct {
	OriginPolicy
	// Origins has what is different for some, named as in CreateRequest.Origins or
	// in any other way that leads to the same device.
	Origins map[string]OriginPolicy
}

// OriginPolicy is the policy for one origin.
type OriginPolicy struct {
	// Stores are the store specs that auto tries, in this order, before what it
	// finds itself.
	Stores []string
	// Limit is the most that a store gets without a size of its own. Zero: what is
	// likely to be needed.
	Limit Size
	// Reserve is what stores leave free on a filesystem; a share is one of the
	// filesystem. Zero: a twentieth, at most 1 GiB.
	Reserve Size
	// ChunkBytes is the unit of copying. Zero: 64 KiB, more for a store of more
	// than 256 GiB.
	ChunkBytes uint64
}

// override returns the policy for all with what p sets in its place.
func (p OriginPolicy) override(all OriginPolicy) OriginPolicy {
	if p.Stores == nil {
		p.Stores = all.Stores
	}
	if p.Limit.IsZero() {
		p.Limit = all.Limit
	}
	if p.Reserve.IsZero() {
		p.Reserve = all.Reserve
	}
	if p.ChunkBytes == 0 {
		p.ChunkBytes = all.ChunkBytes
	}
	return p
}

func (p OriginPolicy) store() store.Policy {
	out := store.Policy{Stores: p.Stores}
	if !p.Reserve.IsZero() {
		out.Reserve = p.Reserve.Of
	}
	return out
}
