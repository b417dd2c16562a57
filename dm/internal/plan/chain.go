package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/targets"
)

// maxLayers bounds how many images a read of the oldest one passes.
const maxLayers = 64

// Older is a live snapshot, a core or an image without one, that pairs with the base of its origin: the kernel copies
// each chunk for it too before that is overwritten. It may read through a newer
// image instead, whose past is its own where it has no chunk itself.
type Older struct {
	Name     string // dm name
	Role     Role
	Table    targets.Table
	ReadOnly bool
	// Valid tells that the kernel has not given it up.
	Valid bool
	// Height is how many images read through it, one above the other.
	Height int
}

// Apart says why an image cannot read through a newer one; "" if it can.
func (o Older) Apart() string {
	snap, ok := o.snapshot()
	switch {
	case !ok || !o.Valid:
		return "the kernel invalidated it"
	case !o.ReadOnly:
		// What is written to it while its exceptions are read again would be lost.
		return "it is writable"
	case !Lasts(snap.Mode):
		return "its store is not persistent"
	case o.Height >= maxLayers:
		return fmt.Sprintf("%d stacked sets already read through it", o.Height)
	}
	return ""
}

func (o Older) snapshot() (s targets.Snapshot, ok bool) {
	return targets.Only[targets.Snapshot](o.Table)
}

// carries tells whether older images may read through a new one. What is written
// to an image would be seen by all that read through it; and a set whose store is
// persistent must not hang on one whose store is not.
func carries(mode targets.Mode, writable bool) bool { return Lasts(mode) && !writable }

// Lasts tells the mode of a set that is to outlive a boot. Transient sets have no
// header on their stores, or one only because of what their first chunk would look
// like without (headed).
func Lasts(mode targets.Mode) bool { return mode == targets.PersistentOverflow }

// headed is the mode of a volume's snapshot. Without a header the first chunk that
// is copied begins the store's device, and it may be the one that says what is on
// the origin. A program that looks for it on all devices prefers one that nothing stands
// on, and that is the origin's front only if nothing does.
func (vr VolumeRequest) headed(mode targets.Mode) (targets.Mode, string) {
	if mode != targets.Transient || vr.Found == "" {
		return mode, ""
	}
	return targets.Persistent, vr.Found
}

// mode is the one asked for, or a persistent one where older sets can read through
// the new one then: their writers pay for it alone. Memory is short, and who stores
// there wants no more written than must be.
func (r CreateRequest) mode() targets.Mode {
	if Lasts(r.Mode) || r.Apart || r.Writable {
		return r.Mode
	}
	mode := r.Mode
	for _, v := range r.Volumes {
		if v.Store.Backing == Memory {
			return r.Mode
		}
		if b := v.Origin.Base; b != nil && slices.ContainsFunc(b.Older, func(o Older) bool { return o.Apart() == "" }) {
			mode = targets.PersistentOverflow
		}
	}
	return mode
}

// chains are the steps after which older images read through the new ones. They
// come when the record of the set is on disk: the way back would lead through
// chunks that only the new image has, so there is none. Until an image is
// chained the kernel copies for both, and continues to if chaining fails.
//
// It is right because both are active when the older one's exceptions are read
// again from its store: a chunk it copies after that is copied into the newer one
// too, with the same contents.
func chains(vs []Volume) []Step {
	var steps []Step
	for _, v := range vs {
		if v.Origin.Base == nil || v.Core == "" {
			continue
		}
		for _, o := range v.Origin.Base.Older {
			snap, ok := o.snapshot()
			// An image larger than what it is to read through would not load.
			if !ok || o.Apart() != "" || o.Table.Size() > v.Origin.Size {
				continue
			}
			snap.Origin = mapped(v.Core)
			steps = append(steps, Step{
				Phase: After, Action: Chain, Role: o.Role, Device: o.Name, ReadOnly: true,
				Table: targets.Single(o.Table.Size(), snap),
			})
		}
	}
	return steps
}

// What is left of a removed set while images of older sets read through it: its
// devices with other names. Set names that begin like that are reserved.
const layerPrefix = "layer-"

// LayerName takes the place of a removed set's name.
func LayerName(id string) string { return layerPrefix + id }

// IsLayer tells the name of what is left of a removed set.
func IsLayer(set string) bool { return strings.HasPrefix(set, layerPrefix) }

// keep gives what others read through the names of a layer, when the image is
// gone. The name of its set is free then.
func (v RemoveVolume) keep(id string) []Step {
	var steps []Step
	for _, d := range []struct {
		role     Role
		name, to string
	}{
		{RoleCore, v.Core, CoreName(LayerName(id), v.Name)},
		{RoleStore, v.Store, StoreName(LayerName(id), v.Name)},
	} {
		if d.name != "" && d.name != d.to {
			steps = append(steps, Step{Phase: Finish, Action: Rename, Role: d.role, Device: d.name, To: d.to})
		}
	}
	return steps
}
