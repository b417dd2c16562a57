package store

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// area is how much of a medium the kernel may write to.
func area(medium targets.Sectors) targets.Sectors {
	return targets.Sectors(layout.Area(medium.Bytes()) / targets.SectorSize)
}

// FindArea finds out what of a file the store's table has, and whether that leaves a
// lead alone: for files that no record tells of. A file that cannot be looked at, or
// lies elsewhere by now, has no lead.
func FindArea(k *ioctl.Kernel, file *plan.File, live targets.Table, on targets.DevNo) error {
	f, err := k.Open(file.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	with, all := *file, plan.On(live, on).Size().Bytes()
	with.Lead, with.Bytes = layout.Lead, min(layout.Area(uint64(st.Size)), all)
	file.Bytes = min(uint64(st.Size), all)
	t, err := Layout(f, &with, 0)
	if _, refused := errors.AsType[*plan.Refusal](err); refused {
		return f.Close() // too short for one
	}
	if err == nil && numbered(t, on).Equal(with.Part(live, on)) {
		*file = with
	}
	return errors.Join(err, f.Close())
}
