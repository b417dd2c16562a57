package freeze

import (
	"context"
	"errors"
	"slices"
)

// What a window does to the filesystems of a set, in the order in which it does it.

// Freeze syncs and then freezes all filesystems, or none.
func (s *Set) Freeze(ctx context.Context) error {
	for _, do := range []func(*Handle) error{(*Handle).SyncFS, (*Handle).Freeze} {
		for _, h := range s.handles {
			err := ctx.Err()
			if err == nil {
				err = do(h)
			}
			if err != nil {
				return errors.Join(err, s.Thaw())
			}
		}
	}
	return nil
}

// Prove proves all.
func (s *Set) Prove() error {
	var errs []error
	for _, h := range s.handles {
		errs = append(errs, h.Prove())
	}
	return errors.Join(errs...)
}

// Thaw ends all our freezes in reverse order, whether others fail or not.
func (s *Set) Thaw() error {
	var errs []error
	for _, h := range slices.Backward(s.handles) {
		errs = append(errs, h.Thaw())
	}
	return errors.Join(errs...)
}

// Frozen are the mount points that are held, in order.
func (s *Set) Frozen() []string {
	var paths []string
	for _, h := range s.handles {
		if h.Frozen() {
			paths = append(paths, h.mount.Path)
		}
	}
	return paths
}

// Mount is the mount that was opened.
func (h *Handle) Mount() Mount { return h.mount }
