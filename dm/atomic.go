package dm

import (
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// atomicNotes warns of a plain device that offers atomic writes: device-mapper does not,
// so that RWF_ATOMIC fails as long as our layer is there.
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
