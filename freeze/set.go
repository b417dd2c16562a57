package freeze

import (
	"errors"
	"slices"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Set is the filesystems of a plan, opened. It is not safe for concurrent use.
type Set struct {
	plan    Plan
	handles []*Handle // those with the method Freeze, in order
}

// Open opens every filesystem of the plan that is frozen through its mount
// point. Unknown types are frozen and thawed once to see whether
// they can be; those that cannot get the next best method, so read the plan
// again from [Set.Plan]. On an error nothing stays open.
func Open(k *ioctl.Kernel, plan Plan) (*Set, error) {
	s := &Set{}
	for _, f := range plan {
		opened, err := s.open(k, f)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.plan = append(s.plan, opened)
	}
	return s, nil
}

func (s *Set) open(k *ioctl.Kernel, f Filesystem) (Filesystem, error) {
	if f.Method != Freeze {
		return f, nil
	}
	h, err := OpenHandle(k, f)
	if err != nil {
		return f, err
	}
	if f.Trial {
		err = h.try()
	}
	switch {
	case errors.Is(err, ErrUnfreezable):
		f.Method, f.Reason = withoutFreeze(f.FSType, f.ReadOnly, f.Direct)
		f.Trial = false
		return f, h.Close()
	case err != nil:
		return f, errors.Join(err, h.Close())
	}
	h.fs.Trial, f.Trial = false, false
	s.handles = append(s.handles, h)
	return f, nil
}

// Plan is what was opened, with the methods that hold now.
func (s *Set) Plan() Plan { return slices.Clone(s.plan) }

// Handles are the filesystems that this Set freezes, in order.
func (s *Set) Handles() []*Handle { return slices.Clone(s.handles) }

// Left are the filesystems this Set does not freeze: left to the device-mapper,
// or to nobody, with the reason.
func (s *Set) Left() Plan {
	return slices.DeleteFunc(s.Plan(), func(f Filesystem) bool { return f.Method == Freeze })
}

// Close thaws and closes everything. A filesystem that cannot be thawed keeps
// its descriptor: Close may be called again.
func (s *Set) Close() error {
	var errs []error
	for _, h := range slices.Backward(s.handles) {
		errs = append(errs, h.Close())
	}
	s.handles = slices.DeleteFunc(s.handles, func(h *Handle) bool { return !h.Frozen() })
	return errors.Join(errs...)
}

// CloseIdle closes what is not held, and leaves what is as it is.
func (s *Set) CloseIdle() error {
	var errs []error
	for _, h := range s.handles {
		if !h.Frozen() {
			errs = append(errs, h.Close())
		}
	}
	s.handles = slices.DeleteFunc(s.handles, func(h *Handle) bool { return !h.Frozen() })
	return errors.Join(errs...)
}
