package plan

import (
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// LeadSectors is where the area of a store begins on its medium. A table that
// begins a device at 0 is a store's of an older release, without lead and tail.
const LeadSectors targets.Sectors = layout.Lead / targets.SectorSize

// Medium is a block device that a store is made of, to be labelled or freed.
type Medium struct {
	Path string
	Dev  targets.DevNo
	// Label says whose it is; its size is looked up when it is written.
	Label layout.Label
	// Area is how much of it the store's table has, in bytes.
	Area uint64
	// Save is how much of the area's beginning is put back if the create fails.
	Save uint64
	// Held: a store of ours has it, so that no other program can.
	Held bool
}

// saveAtMost bounds the memory for what a failed create puts back. The kernel
// writes two chunks of a persistent store when it loads it, and what takes the
// store down wipes its beginning.
const saveAtMost = 16 << 20

// label writes lead and tail of a device before it becomes a store. What was there
// is put back if the create fails.
func (v Volume) label(id, set string) []Step {
	if v.StoreFacts.Backing != Whole {
		return nil
	}
	m := &Medium{
		Path: v.StoreFacts.Path, Dev: v.StoreFacts.Dev, Label: v.Label(id, set), Area: v.StoreSize.Bytes(),
		Save: min(max(wipeBytes, 2*v.Chunk.Bytes()), v.StoreSize.Bytes(), saveAtMost),
	}
	return []Step{labelMedium(m)}
}

func labelMedium(m *Medium) Step {
	return Step{
		Phase: Prepare, Action: LabelMedium, Role: RoleStore, Medium: m,
		Undo: &Step{Action: PutBack, Role: RoleStore, Medium: m},
	}
}

// Label says whose the medium of a volume's store is.
func (v Volume) Label(id, set string) layout.Label {
	return layout.Label{
		ID: id, Set: set, Volume: uint32(v.Index), VolumeName: v.Name, Kind: kinds[v.StoreFacts.Backing],
		Persistent: Lasts(v.Mode),
	}
}

var kinds = map[Backing]layout.Kind{
	Whole: layout.Device, Extents: layout.Mapped, Loop: layout.Looped, Memory: layout.Memory,
}

// free takes our labels off the media of a store that goes. A label that is not
// the set's stays: the device was reused. One that failed, or is not
// there any more, must not keep the set from going.
func free(media []Medium, dead bool) []Step {
	var steps []Step
	for _, m := range media {
		steps = append(steps, Step{Phase: Finish, Action: WipeLabel, Role: RoleStore, Medium: &m, Optional: dead || !m.Held})
	}
	return steps
}

// HasLead tells of the first row on a device, by its offset there, whether the
// device has lead and tail.
func HasLead(row targets.Row) bool {
	l, ok := row.Target.(targets.Linear)
	return ok && l.Offset == LeadSectors
}

// LeadOn tells whether a store's table leaves the lead of a device alone.
func LeadOn(t targets.Table, dev targets.DevNo) bool {
	for _, row := range t {
		if l, ok := row.Target.(targets.Linear); ok && l.Dev.Path == "" && l.Dev.DevNo == dev {
			return HasLead(row)
		}
	}
	return false
}

func (m *Medium) detail(a Action) string {
	switch {
	case m == nil:
		return ""
	case a == LabelMedium && m.Held:
		return "its new end"
	case a == LabelMedium:
		return fmt.Sprintf("first and last %d bytes", layout.Lead)
	case a == WipeLabel:
		return "if they belong to the set"
	}
	return ""
}
