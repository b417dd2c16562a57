package run

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
)

// allocate gives a file its blocks.
func (r *Runner) allocate(ctx context.Context, f *ioctl.File, file *plan.File) error {
	if len(file.Pasts) == 0 {
		return f.Allocate(0, int64(file.Size()))
	}
	if err := r.leadsToOrigin(file); err != nil {
		return err
	}
	free, err := r.freeInPast(file.Pasts)
	if err != nil {
		return err
	}
	return obtain(ctx, f, file, free)
}

// leadsToOrigin: blocks of the file are the origin's, and the base leads to them.
func (r *Runner) leadsToOrigin(file *plan.File) error {
	base, err := r.number(file.Over)
	if err != nil {
		return err
	}
	read := &stack.Reader{Kernel: r.Kernel, Control: r.Control}
	if ok, err := read.Vouched(base); err != nil || !ok {
		return errors.Join(err, ErrBypassed)
	}
	return nil
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

// unknownPast explains an image whose free space is unknown: it is mounted to be
// written to, its filesystem is damaged or cannot tell.
func unknownPast(p plan.Past, err error) error {
	for _, known := range []unix.Errno{unix.EBUSY, unix.EINVAL, unix.EROFS, unix.EUCLEAN, unix.EOPNOTSUPP, unix.ENOTTY} {
		if errors.Is(err, known) {
			return plan.Refuse(plan.NoSpace, p.Image, "name another device with --store to continue there", "cannot determine what image %s needs: %v", p.Image, err)
		}
	}
	return err
}

// obtain gives a file, from the end of its lead on, blocks that were free. It holds on
// to others it is given until there are enough, so that it is not given them again,
// within its room: applications need some meanwhile. The file has no name yet:
// should we die, all goes.
func obtain(ctx context.Context, f *ioctl.File, file *plan.File, free []ioctl.Range) error {
	most, have := layout.Area(file.Room), uint64(0)
	var others []ioctl.Range
	for {
		good := have - min(have, total(others))
		if good >= file.Bytes || have >= most && file.Partly && good >= min(file.Bytes, plan.LeastGrowth.Bytes()) {
			return giveBack(f, file, min(good, file.Bytes), others)
		}
		more := min(max(file.Bytes-good, have), most-min(have, most))
		if more == 0 {
			return plan.Refuse(plan.NoSpace, file.Path, "name another device with --store to continue there",
				"only %d of %d bytes that %s could use were free when the snapshot was taken", good, have, file.Path)
		}
		if err := errors.Join(ctx.Err(), f.Allocate(0, int64(file.Lead+have+more))); err != nil {
			return err
		}
		have += more
		var err error
		if others, err = store.Others(f, file.Lead, free); err != nil {
			return err
		}
	}
}

func total(ranges []ioctl.Range) (sum uint64) {
	for _, r := range ranges {
		sum += r.Length
	}
	return sum
}

// giveBack leaves holes where others' blocks were and ends the file with its tail.
// Lead and tail are written through the filesystem, and may lie anywhere.
func giveBack(f *ioctl.File, file *plan.File, good uint64, others []ioctl.Range) error {
	end := file.Lead
	for _, o := range others {
		if o.Start-end >= good {
			break
		}
		good -= o.Start - end
		if err := f.Punch(int64(o.Start), int64(o.Length)); err != nil {
			return err
		}
		end = o.Start + o.Length
	}
	end += good
	if err := f.Truncate(int64(end)); err != nil {
		return err
	}
	tail := (end + layout.Align - 1) / layout.Align * layout.Align
	return f.Allocate(int64(tail), layout.Tail)
}

// writeLabels is writeEnds for a file whose blocks read as zeros: what is written
// through the filesystem, the images' stores must copy.
func writeLabels(f *ioctl.File, l layout.Label) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	size := uint64(st.Size)
	return errors.Join(writeLabel(f, l, layout.InLead, size), writeLabel(f, l, layout.InTail, size))
}

// serves tells whether the table of a store has a file it was to go on with, or may
// get it still.
func (r *Runner) serves(s plan.Step) (bool, error) {
	info, live, err := r.table(ioctl.ID{Name: s.Device}, 0)
	if errors.Is(err, ioctl.ErrNotFound) {
		return false, nil
	}
	if err == nil && info.Inactive {
		err = fmt.Errorf("%s may still need blocks of %s", s.Device, s.File.Path)
	}
	return live.Size().Bytes() > s.File.At, err
}
