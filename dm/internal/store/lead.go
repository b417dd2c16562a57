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

// FindLead tells whether a file has a lead, by where the store's table lies on it:
// for files that no record tells of. A file that cannot be looked at, or lies
// elsewhere by now, has none.
func FindLead(k *ioctl.Kernel, file *plan.File, live targets.Table, on targets.DevNo) (uint64, error) {
	f, err := k.Open(file.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	with := *file
	with.Lead = layout.Lead
	t, err := Layout(f, &with, 0)
	if _, refused := errors.AsType[*plan.Refusal](err); refused {
		return 0, f.Close() // too short for one
	}
	if err == nil && !numbered(t, on).Equal(plan.On(live, on)) {
		with.Lead = 0
	}
	return with.Lead, errors.Join(err, f.Close())
}
