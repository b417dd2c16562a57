package dm

import (
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// atomicNotes says that a plain device promises not to tear writes that are larger
// than a sector. A layer does not: RWF_ATOMIC fails as long as it is there.
func (x *examiner) atomicNotes(o plan.Origin) []Problem {
	if o.Plain == nil {
		return nil
	}
	unit, sector, err := x.read.AtomicWrites(o.Dev)
	if err != nil || unit <= sector {
		return nil
	}
	return []Problem{{
		Message: fmt.Sprintf("%s takes atomic writes of up to %d bytes; while it has a set or is attached, they fail with EINVAL", o.Path, unit),
		Hint:    "if a database uses RWF_ATOMIC on it, turn that off before",
	}}
}
