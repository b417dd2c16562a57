package store

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Layout is where a file lies: the table of a store made of it. Files whose
// blocks have no place of their own, or may be moved, are refused.
func Layout(f *ioctl.File, file *plan.File, flags ioctl.FiemapFlags) (targets.Table, error) {
	realtime, err := f.Realtime()
	switch {
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP):
	case err != nil:
		return nil, err
	case realtime:
		return nil, plan.Refuse(plan.Unsupported, file.Path, "use a directory whose files are not on the realtime device", "%s lies on the realtime device of its filesystem", file.Path)
	}
	extents, err := f.Extents(flags)
	if err != nil {
		return nil, Unfit(err, file.Path)
	}
	pieces := make([]plan.Stretch, len(extents))
	for i, e := range extents {
		if bad := e.Flags & unmappable; bad != 0 || (e.Logical|e.Physical|e.Length)%512 != 0 {
			return nil, plan.Refuse(plan.Unsupported, file.Path, "use another filesystem", "the blocks of %s are shared or not fixed: the extent at byte %d has flags %#x", file.Path, e.Logical, uint32(bad))
		}
		pieces[i] = plan.Stretch{
			Start: targets.Sectors(e.Logical / 512), Length: targets.Sectors(e.Length / 512), Offset: targets.Sectors(e.Physical / 512),
		}
	}
	if file.At == 0 && !file.Hollow {
		return file.Rows(pieces)
	}
	return closedUp(f, file, pieces)
}

// closedUp is the layout of a file with holes: all that it has between lead and tail,
// which may be less than was planned.
func closedUp(f *ioctl.File, file *plan.File, pieces []plan.Stretch) (targets.Table, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	tail, err := layout.TailAt(uint64(st.Size))
	if err != nil {
		return nil, plan.Refuse(plan.Unsupported, file.Path, "remove the set", "%s was truncated", file.Path)
	}
	whole := *file
	pieces, size := plan.CloseUp(pieces, targets.Sectors(tail/512))
	whole.Bytes = size.Bytes() - min(size.Bytes(), file.Lead)
	return whole.Rows(pieces)
}

// unmappable are the extents that are nowhere, may move, or are not the file's
// alone.
const unmappable = ioctl.ExtentUnknown | ioctl.ExtentDelalloc | ioctl.ExtentEncoded | ioctl.ExtentEncrypted |
	ioctl.ExtentNotAligned | ioctl.ExtentInline | ioctl.ExtentTail | ioctl.ExtentShared

// Unfit explains a filesystem that lacks a call.
func Unfit(err error, name string) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return plan.Refuse(plan.Unsupported, name, "use another filesystem", "the filesystem of %s does not support fallocate or FIEMAP", name)
	}
	return err
}
