package dm

import (
	"cmp"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/targets"
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

// over puts what p says in the place of what the policy for all says.
func (p OriginPolicy) over(all OriginPolicy) OriginPolicy {
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

// policy finds what counts for an origin. Names that lead nowhere today, such as
// a mount point where nothing is mounted, are passed over.
func (x *examiner) policy(p Policy, mounts mounts, o plan.Origin) OriginPolicy {
	if own, found := p.Origins[o.Spec]; found {
		return own.over(p.OriginPolicy)
	}
	for name, own := range p.Origins {
		if dev, err := x.read.Resolve(name, mounts); err == nil && dev == o.Dev {
			return own.over(p.OriginPolicy)
		}
	}
	return p.OriginPolicy
}

// chunk is the unit of copying of a volume: what the request says, else the
// policy. Zero if neither does.
func (r CreateRequest) chunk(p OriginPolicy) (targets.Sectors, error) {
	bytes := cmp.Or(r.ChunkBytes, p.ChunkBytes)
	if bytes%targets.SectorSize != 0 {
		return 0, plan.Refuse(plan.Usage, "", "use a power of two between 4k and 1g", "chunk size %d is not a multiple of the sector size", bytes)
	}
	return targets.Sectors(bytes / targets.SectorSize), nil
}

func (p OriginPolicy) store() store.Policy {
	out := store.Policy{Stores: p.Stores}
	if !p.Reserve.IsZero() {
		out.Reserve = p.Reserve.Of
	}
	return out
}
