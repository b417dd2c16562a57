package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// growFile gives the file of a live store more blocks, at its end. Those it has
// must be where the store's table says, before and after.
func (r *Runner) growFile(ctx context.Context, s plan.Step) error {
	if s.File.Backing == plan.Loop {
		return r.growLoop(s.File)
	}
	if err := r.growable(s); err != nil {
		return err
	}
	free, err := r.freeInPast(s.File.Growth.Pasts)
	if err != nil {
		return err
	}
	return errors.Join(r.unpinned(s.File, func(f *ioctl.File) error {
		if err := obtain(ctx, f, s.File, free); err != nil {
			return err
		}
		if err := growTail(f, s.File); err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.SyncFS())
	}), r.checkFile(s))
}

// growable: the blocks it has are where the table says, and are the origin's.
func (r *Runner) growable(s plan.Step) error {
	if err := r.checkFile(s); err != nil {
		return err
	}
	n, err := r.number(s.Device)
	if err != nil {
		return err
	}
	return r.vouched(n, 0, ^targets.Sectors(0))
}

// growLoop needs no look at the past: what is on another filesystem is on no
// origin. Append-only allows it.
func (r *Runner) growLoop(file *plan.File) error {
	f, err := r.Kernel.Open(file.Path, unix.O_RDWR|unix.O_APPEND|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	if _, err = ours(f); errors.Is(err, errForeign) {
		err = changed(file.Path)
	}
	if err == nil {
		had := file.Had()
		err = f.Allocate(int64(had), int64(file.Size()-had))
	}

	if err == nil {
		err = errors.Join(f.Sync(), f.SyncFS())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return r.refreshLoop(file)
}

// growTail writes the tail where the file ends now, before the store's table
// reaches over the old one. That of a loop device's file is written through that.
func growTail(f *ioctl.File, file *plan.File) error {
	if file.Lead == 0 || file.Backing == plan.Loop {
		return nil
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return relabel(f, file.Label, uint64(st.Size))
}

func (r *Runner) refreshLoop(file *plan.File) error {
	loop, err := r.Kernel.Open(file.Growth.LoopNode, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = loop.RefreshLoop()
	if size, sizeErr := loop.BlockSize(); err == nil && file.Lead > 0 {
		// Through the loop device: the file can only be appended to.
		err = cmp.Or(sizeErr, relabel(loop, file.Label, size))
	}
	return errors.Join(err, loop.Close())
}

// unpinned has f at a file of ours that can be written for as long as it takes.
func (r *Runner) unpinned(file *plan.File, do func(*ioctl.File) error) error {
	flags, err := r.Kernel.Open(file.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err = r.unpin(flags); err != nil {
		if errors.Is(err, errForeign) {
			err = changed(file.Path)
		}
		return errors.Join(err, flags.Close())
	}
	// Its name may be another file's by now.
	f, err := r.Kernel.Open(flags.Self(), unix.O_RDWR, 0)
	if err == nil {
		err = errors.Join(do(f), f.Close())
	}
	return errors.Join(err, addFlags(flags, pinFlag(file)), flags.Close())
}

// freeInPast is what was free in the filesystems of all images when they were cut.
// The store writes beneath the front, where nothing is copied: what lay in a block
// that an image has a file in, deleted since, would be lost to it.
func (r *Runner) freeInPast(pasts []plan.Past) (free []ioctl.Range, err error) {
	for i, p := range pasts {
		more, err := r.freeIn(p)
		if err != nil {
			return nil, err
		}
		if free = more; i > 0 {
			free = store.Common(free, more)
		}
	}
	return free, nil
}

func (r *Runner) freeIn(p plan.Past) ([]ioctl.Range, error) {
	n, err := r.number(p.Image)
	if err != nil {
		return nil, err
	}
	mount, err := r.Kernel.MountPrivate(p.FSType, fmt.Sprintf("/dev/dm-%d", n.Minor), p.Options...)
	if err != nil {
		return nil, unknownPast(p, err)
	}
	dir, err := r.Kernel.Open(mount.Path(), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, errors.Join(err, mount.Close())
	}
	free, err := dir.FreeSpace()
	return free, errors.Join(unknownPast(p, err), dir.Close(), mount.Close())
}

// unknownPast explains an image that does not tell: somebody has it mounted to be
// written to, its filesystem is damaged or cannot tell.
func unknownPast(p plan.Past, err error) error {
	for _, known := range []unix.Errno{unix.EBUSY, unix.EINVAL, unix.EROFS, unix.EUCLEAN, unix.EOPNOTSUPP, unix.ENOTTY} {
		if errors.Is(err, known) {
			return plan.Refuse(plan.NoSpace, p.Image, "name another device with --store to continue there", "cannot determine what image %s needs: %v", p.Image, err)
		}
	}
	return err
}

// obtain makes a file larger with blocks that were free. It holds on to others it
// is given until there are enough, so that it is not given them again: to half of
// the room at most, or twice of what is wanted if that is more, since applications
// need some meanwhile.
func obtain(ctx context.Context, f *ioctl.File, file *plan.File, free []ioctl.Range) error {
	g, had := file.Growth, file.Had()
	want, have := file.Bytes-g.From, uint64(0)
	limit := min(g.Room, want+max(2*want, g.Room/2)/4096*4096) // in whole blocks, as the room is
	var others []ioctl.Range
	for {
		var err error
		if others, err = store.Others(f, had, free); err != nil {
			return err
		}
		good := have - min(have, total(others))
		if good >= want || have >= limit && g.Partly && good > 0 {
			break
		}
		more := min(max(want-good, have), limit-min(have, limit))
		if more == 0 {
			return plan.Refuse(plan.NoSpace, file.Path, "name another device with --store to continue there",
				"only %d of %d bytes that %s could use were free when the snapshot was taken", good, have, file.Path)
		}
		if err := errors.Join(ctx.Err(), f.Allocate(int64(had+have), int64(more))); err != nil {
			return err
		}
		have += more
	}
	return giveBack(f, had+have, file.Size(), others)
}

// giveBack takes parts out of a file, the last first, so that the places of those
// before stay what they are, and what is beyond its size.
func giveBack(f *ioctl.File, end, size uint64, parts []ioctl.Range) error {
	for _, p := range slices.Backward(parts) {
		var err error
		if p.Start+p.Length >= end {
			end = p.Start
			err = f.Truncate(int64(end))
		} else {
			end -= p.Length
			err = f.Collapse(int64(p.Start), int64(p.Length))
		}
		if err != nil {
			return err
		}
	}
	if end <= size {
		return nil
	}
	return f.Truncate(int64(size))
}

func total(ranges []ioctl.Range) (sum uint64) {
	for _, r := range ranges {
		sum += r.Length
	}
	return sum
}

// trimFile takes back what a file got that its store's table does not have, and
// pins it again. Blocks that the kernel may still write to are never given up: a
// table in the inactive slot could become the live one. A file that was changed by
// somebody stays as it is, and the log says so.
func (r *Runner) trimFile(s plan.Step) error {
	info, live, err := r.table(ioctl.ID{Name: s.Device}, 0)
	if err != nil {
		return err
	}
	if info.Inactive {
		return fmt.Errorf("%s may still need blocks of %s", s.Device, s.File.Path)
	}
	err = r.trim(s, live)
	if _, refused := errors.AsType[*plan.Refusal](err); refused || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		r.Log.Warn("the file of a store is kept", "path", s.File.Path, "why", err)
		return nil
	}
	return err
}

func (r *Runner) trim(s plan.Step, live targets.Table) error {
	dev := s.File.Growth.Loop
	if s.File.Backing == plan.Extents {
		var err error
		if dev, err = r.number(s.File.Over); err != nil {
			return err
		}
		if err := r.checkFile(s); err != nil {
			return err
		}
	}
	was := *s.File
	if was.Bytes = plan.On(live, dev).Size().Bytes(); was.Bytes == 0 {
		return changed(s.File.Path)
	}
	keep := was.Size()
	err := r.unpinned(s.File, func(f *ioctl.File) error {
		st, err := f.Stat()
		if err != nil || uint64(st.Size) <= keep {
			return err
		}
		return errors.Join(f.Truncate(int64(keep)), growTail(f, s.File), f.Sync())
	})
	if err != nil || s.File.Backing == plan.Extents {
		return err
	}
	return r.refreshLoop(s.File)
}

func changed(path string) error {
	return plan.Refuse(plan.Busy, path, "find out which program changed it", "%s no longer looks like the file of a store", path)
}
