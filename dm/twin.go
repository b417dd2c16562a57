package dm

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/targets"
)

// lookalikeReason says why programs that look for the origin by what is on it might find its
// store instead, if that began with the same bytes. They prefer a device-mapper
// device on which nothing stands: so is the origin itself, if a filesystem lies
// directly on it, and a store's device never is.
func (x *examiner) lookalikeReason(o plan.Origin, above []targets.DevNo) (string, error) {
	switch {
	case o.Plain != nil:
		return "the origin is found by its contents, and a device-mapper device with the same contents would be found first", nil
	case len(above) > 1:
		return "other devices are stacked on the origin, and a device with the same contents would be found too", nil
	}
	f, err := x.kernel.Open(o.Path, unix.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	on, err := probe.Identify(f)
	if err = errors.Join(err, f.Close()); err == nil && on.Type != "" && !on.Filesystem {
		return "the origin holds no filesystem but " + on.Type + ", and a device with the same contents would be found too", nil
	}
	return "", err
}
