package dm

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/targets"
)

// lookalike says why programs that look for the origin by what is on it might find its
// store instead, if that began with the same bytes. They prefer a device-mapper
// device on which nothing stands: so is the origin itself, if a filesystem lies
// directly on it, and a store's device never is.
func (s *session) lookalike(o plan.Origin, above []targets.DevNo) (string, error) {
	switch {
	case o.Plain != nil:
		return "the origin is found by what is on it, and a device-mapper device that begins with the same would be first", nil
	case len(above) > 1:
		return "other devices stand on the origin, and a device that begins like it would be found as well", nil
	}
	f, err := s.kernel.Open(o.Path, unix.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	on, err := probe.Identify(f)
	if err = errors.Join(err, f.Close()); err == nil && on.Type != "" && !on.Filesystem {
		return "the origin carries no filesystem but " + on.Type + ", and a device that begins like it would be found as well", nil
	}
	return "", err
}
