package dm

import (
	"cmp"
	"errors"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/targets"
)

// gatherStores comes after all origins are known: a store may lie on any.
func (x *examiner) gatherStores(f *facts, r CreateRequest) error {
	h := &store.Host{Read: x.read, Ours: f.ours, Mounts: f.mounts.Table, Force: r.ForceStore}
	for _, v := range f.request.Volumes {
		h.Origins = append(h.Origins, v.Origin)
	}
	for i := range f.request.Volumes {
		v := &f.request.Volumes[i]
		spec, named := r.Stores[v.Origin.Spec]
		if !named {
			spec = r.Stores[""]
		}
		own := x.policyFor(r.Policy, f.mounts, v.Origin)
		h.Policy = own.store()
		kind, err := store.Parse(spec)
		if err != nil {
			return err
		}
		var demand plan.Demand
		chunk := cmp.Or(v.Chunk, plan.UsualChunk)
		if v.StoreSize == 0 && !strings.HasPrefix(spec, "/") {
			if demand, err = x.estimateDemand(f, v.Origin, chunk); err != nil {
				return err
			}
		}
		h.File = plan.FileName(f.request.ID, i)
		h.Need, h.Least = plan.Wanted(v.Origin.Size, chunk, demand), plan.Least(v.Origin.Size, chunk)
		if !own.Limit.IsZero() {
			v.Limit = targets.Sectors(own.Limit.Of(v.Origin.Size.Bytes()) / targets.SectorSize)
			h.Need, h.Least = min(h.Need, v.Limit), min(h.Least, v.Limit)
		}
		if v.StoreSize != 0 {
			h.Need, h.Least = v.StoreSize, v.StoreSize
		}
		if v.Store, err = kind.Inspect(h, v.Origin); err != nil {
			return x.servedSetError(spec, err)
		}
		v.Store.Demand = demand
		if v.Store.Disks, err = h.Waits(v.Store); err != nil {
			return err
		}
	}
	return nil
}

// servedSetError names the set that a refused file serves already. One that others read
// through keeps its file when it is removed, under a name that its user never gave.
func (x *examiner) servedSetError(spec string, refused error) error {
	path, file := strings.CutPrefix(spec, "file:")
	if r, is := errors.AsType[*plan.Refusal](refused); !file || !is || r.Kind != plan.Usage {
		return refused
	}
	sets, err := x.sets.list()
	if err != nil {
		return refused
	}
	for _, set := range sets {
		for _, v := range set.Volumes {
			switch {
			case v.Store.Kind != StoreFile || v.Store.Path != path:
			case set.Layer:
				return plan.Refuse(plan.Usage, path, "name another file, or remove "+strings.Join(v.ReadBy, ", ")+" first", "store file %s is still used by %s, the leftover of a removed set that %s read through", path, set.Name, strings.Join(v.ReadBy, ", "))
			default:
				return plan.Refuse(plan.Usage, path, "name another file, or remove that set", "store file %s is already used by set %s", path, set.Name)
			}
		}
	}
	return refused
}

// estimateDemand is what a store of the origin is likely to take: by what is in use, and
// by the writes since boot and just now, whichever were more.
func (x *examiner) estimateDemand(f *facts, o plan.Origin, chunk targets.Sectors) (plan.Demand, error) {
	var d plan.Demand
	for _, dev := range f.above[o.Dev] {
		for _, m := range f.mounts.Of(dev) {
			st, err := x.kernel.Statfs(m.Reach)
			if err == nil {
				d.Used += (st.Blocks - st.Free) * uint64(st.BlockSize)
				break
			}
		}
	}
	var err error
	d.Rate, err = x.load.sampleRate(o.Dev, chunk)
	return d, err
}

// policyFor finds what counts for an origin. Names that lead nowhere today, such as
// a mount point where nothing is mounted, are passed over.
func (x *examiner) policyFor(p Policy, mounts mounts, o plan.Origin) OriginPolicy {
	if own, found := p.Origins[o.Spec]; found {
		return own.override(p.OriginPolicy)
	}
	for name, own := range p.Origins {
		if dev, err := x.read.Resolve(name, mounts); err == nil && dev == o.Dev {
			return own.override(p.OriginPolicy)
		}
	}
	return p.OriginPolicy
}
