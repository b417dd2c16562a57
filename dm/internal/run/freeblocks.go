package run

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// freeBlocks punches holes into the file of a store that has no use any more for what lay
// there. What keeps users off the file is taken away for that time: the kernel would
// refuse it.
func (r *Runner) freeBlocks(s plan.Step) (err error) {
	if err := r.verify(plan.Step{Device: s.Device, Role: s.Role, Table: s.Table}); err != nil {
		return err // it may have all of the file
	}
	pinned, err := r.Kernel.Open(s.File.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pinned.Close()) }()
	flags, err := ours(pinned)
	if errors.Is(err, errForeign) {
		return changed(s.File.Path)
	}
	if err != nil {
		return err
	}
	if err := pinned.SetFlags(flags &^ (ioctl.FlagImmutable | ioctl.FlagAppend)); err != nil {
		return err
	}
	return errors.Join(r.punch(pinned, s), pinned.SetFlags(flags))
}

func (r *Runner) punch(pinned *ioctl.File, s plan.Step) error {
	f, err := r.Kernel.Open(s.File.Path, unix.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	same, err := sameFile(f, pinned)
	if err == nil && !same {
		err = errForeign
	}
	for _, part := range s.Free {
		if err == nil {
			err = f.Punch(int64(part.Start.Bytes()), int64(part.Length.Bytes()))
		}
	}
	return errors.Join(err, f.Close())
}
