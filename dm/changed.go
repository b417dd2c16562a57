package dm

import (
	"context"
	"iter"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/extents"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// Extent is a range of a volume in bytes.
type Extent struct {
	Offset uint64 `json:"offset_bytes"`
	Length uint64 `json:"length_bytes"`
}

// ChangedRequest asks in what two images of one origin differ.
type ChangedRequest struct {
	// Set and Volume are those to be copied; Volume as in OpenRequest.
	Set, Volume string
	// Since is the name or the uuid of the set that was copied before, older or newer,
	// which must still exist, at least as a layer.
	Since string
	// From leaves out what lies before this byte.
	From uint64
}

// AllocatedRequest asks what of an image is in use.
type AllocatedRequest struct {
	Set, Volume string // as in ChangedRequest
	From        uint64
}

// ExtentList is a list of ranges of one image, and what it is about.
type ExtentList struct {
	Set, UUID, Volume string
	Since, SinceUUID  string // of Changed
	SizeBytes         uint64 // of the image
	// Granularity is the largest unit in which changes are recorded: an extent may be
	// larger than what changed by less than that at each end, or by the unit of a set that
	// was flattened since. Of Allocated, the unit that the extents are multiples of.
	Granularity uint64
	// Whole says why all of the image is listed; "" if the list is one of what is in use.
	Whole string
	// All gives the extents, sorted, apart from each other and within the image. An
	// error ends it: what came before is not the list then. It may be called again,
	// and reads anew.
	All iter.Seq2[Extent, error]
}

// Changed lists where the image of a set differs from that of another set of the same
// origin. It may list more than that, and never less: what was written without a
// change, what was written while the newer set was cut, whole chunks. Blocks of a
// file that is the store of a set and lies on the origin itself are left out, unless
// the image needs what was there before: their contents mean nothing in it.
//
// It reads the records of the sets' stores, and no data. It takes no lock; sets may be
// cut, removed and flattened meanwhile.
//
// Errors: a *FullRequired in an Error of CodeFullRequired if the difference is not
// recorded, before the first extent or after some; a *StateError if the image to be
// copied is lost.
func (m *Manager) Changed(ctx context.Context, r ChangedRequest) (*ExtentList, error) {
	l := &extentLister{m: m, op: "changed", set: r.Set, from: r.From}
	return l.list(ctx, func(_ *session, v *view) (*ExtentList, error) { return l.changed(v, r) })
}

// changed finds the two volumes by name; from then on they are known by their ids.
func (l *extentLister) changed(v *view, r ChangedRequest) (*ExtentList, error) {
	sets := v.sets()
	set, vol, err := l.find(sets, r.Set, r.Volume)
	if err != nil {
		return nil, err
	}
	since, err := pickAny(sets, r.Since)
	if err != nil {
		return nil, err
	}
	if _, err := l.way(v, l.target); err != nil {
		return nil, err
	}
	was, err := l.counterpart(v, since)
	if err != nil {
		return nil, err
	}
	t, err := l.trail(v)
	if err != nil {
		return nil, err
	}
	switch { // what tables do not tell
	case !vol.readable():
		return nil, unusableError(vol)
	case !was.readable() && !(was.bookmark && was.State == StateActive):
		return nil, l.lost(*l.since, was.State, was.Reason)
	case vol.Writable, was.Writable:
		return nil, l.full(FullUnsupported, "the images of one of the sets are writable")
	}
	return &ExtentList{
		Set: set.Name, UUID: set.UUID, Volume: vol.Name, Since: since.Name, SinceUUID: since.UUID,
		SizeBytes: t.size, Granularity: t.largest,
	}, nil
}

// find is the volume that is to be copied.
func (l *extentLister) find(sets []Set, name, volume string) (*Set, Volume, error) {
	set, err := pickSet(sets, name)
	if err != nil {
		return nil, Volume{}, err
	}
	vol, err := set.pick(volume)
	if err == nil && set.Layer {
		err = plan.Refuse(plan.NotFound, "", "dmsnap list shows existing sets", "set %s was removed and has no image", name)
	}
	l.target = member{id: set.UUID, volume: vol.number, set: set.Name, name: vol.Name}
	return set, vol, err
}

// pickAny finds a set by its uuid or its name: a name may be another set's by now.
func pickAny(sets []Set, name string) (*Set, error) {
	if i := slices.IndexFunc(sets, func(s Set) bool { return s.UUID == name }); i >= 0 {
		return &sets[i], nil
	}
	return pickSet(sets, name)
}

// counterpart is the volume of the other set that stands on the same base.
func (l *extentLister) counterpart(v *view, since *Set) (Volume, error) {
	l.since = &member{set: since.Name}
	base, _ := v.BaseOf(*v.Snapshot(l.target.id, l.target.volume))
	for _, vol := range since.Volumes {
		other := v.Snapshot(since.UUID, vol.number)
		if other == nil && vol.Name != l.target.name {
			continue
		}
		if other != nil {
			if on, ok := v.BaseOf(*other); !ok || on != base {
				continue
			}
		}
		*l.since = member{id: since.UUID, volume: vol.number, set: since.Name, name: vol.Name}
		return vol, nil
	}
	return Volume{}, l.full(FullUnknownCursor, "set %s has no image of the same origin", since.Name)
}

// changedIn is where the two images differ in a part of the volume, and more.
func (l *extentLister) changedIn(ctx context.Context, s *session, t *trail, in extents.Extent) (iter.Seq[extents.Extent], error) {
	w := extents.NewWindow(in, t.unit)
	w.Mark(extents.Extent{Start: t.since, End: t.size}) // the origin has grown
	if err := l.mark(ctx, s, w, t, t.apart); err != nil {
		return nil, err
	}
	return w.All(), nil
}
