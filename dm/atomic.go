package dm

import (
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// atomicNotes warns of a plain device that offers atomic writes: device-mapper does not,
// and RWF_ATOMIC would fail, so that the module refuses a device whose users can send them.
func (x *examiner) atomicNotes(o plan.Origin) []Problem {
	if o.Plain == nil {
		return nil
	}
	unit, sector, err := x.read.AtomicWrites(o.Dev)
	if err != nil || unit <= sector {
		return nil
	}
	return []Problem{{
		Message: fmt.Sprintf("%s takes atomic writes of up to %d bytes, which device-mapper does not: it is refused if its users can send them", o.Path, unit),
		Hint:    "files on a mounted filesystem cannot be written so up to Linux 6.12, those of ext4 and xfs can from 6.13 on",
	}}
}
