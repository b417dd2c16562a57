package run

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// wipe zeroes a part of a store through the node the kernel itself makes. The blocks
// of a file that may be another's by now are not written to: the file is wiped
// through its filesystem when it goes, which knows where it is.
func (r *Runner) wipe(s plan.Step) error {
	if s.File != nil && s.File.Backing == plan.Extents {
		if err := r.checkFile(s); err != nil {
			return err // these blocks may be another file's by now
		}
	}
	n, err := r.number(s.Device)
	if err != nil {
		return err
	}
	f, err := r.Kernel.Open(fmt.Sprintf("/dev/dm-%d", n.Minor), unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(r.wipeStore(s, f, n), f.Close())
}

func (r *Runner) wipeStore(s plan.Step, f *ioctl.File, n targets.DevNo) error {
	at := targets.Sectors(s.At / 512)
	end := at + targets.Sectors((s.Bytes+511)/512)
	if s.Discard {
		at, end = 0, ^targets.Sectors(0)
	}
	err := r.vouched(n, at, end)
	if errors.Is(err, ErrBypassed) && s.File != nil {
		r.unwiped[s.File.Path] = s.Bytes
		return nil
	}
	if err != nil {
		return err
	}
	if s.Discard {
		r.discard(f)
	}
	_, err = f.WriteAt(make([]byte, s.Bytes), int64(s.At))
	if err == nil {
		err = f.Sync()
	}
	return err
}

// vouched looks, right before a write to sectors of a store, whether the bases
// beneath them lead to their origins still.
func (r *Runner) vouched(store targets.DevNo, at, end targets.Sectors) error {
	_, table, err := r.table(ioctl.ID{Dev: store}, 0)
	if err != nil {
		return err
	}
	read := &stack.Reader{Kernel: r.Kernel, Control: r.Control}
	looked := map[targets.DevNo]bool{}
	for _, row := range table {
		linear, ok := row.Target.(targets.Linear)
		if !ok || row.Start >= end || row.Start+row.Length <= at || looked[linear.Dev.DevNo] {
			continue
		}
		looked[linear.Dev.DevNo] = true
		if ok, err := read.Vouched(linear.Dev.DevNo); err != nil || !ok {
			return errors.Join(err, ErrBypassed)
		}
	}
	return nil
}

// discard gives the space of a store back to a thin pool or a flash disk. It is a
// favour: where it fails nothing is lost.
func (r *Runner) discard(f *ioctl.File) {
	size, err := f.BlockSize()
	if err == nil {
		err = f.Discard(0, size)
	}
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		r.Log.Warn("the store was not discarded", "device", f.Path(), "error", err)
	}
}

// wipeFile zeroes the beginning of a file that is about to go, and that could not be
// wiped as a store. Pinned is the same file, not pinned any more. A failure keeps
// nothing from going.
func (r *Runner) wipeFile(pinned *ioctl.File, path string) {
	size := r.unwiped[path]
	if size == 0 {
		return
	}
	f, err := r.Kernel.Open(path, unix.O_RDWR|unix.O_NOFOLLOW, 0)
	if err == nil {
		err = errors.Join(zeroSame(f, pinned, size), f.Close())
	}
	if err != nil {
		r.Log.Warn("the store's file is deleted without being wiped", "path", path, "error", err)
	}
}

func zeroSame(f, pinned *ioctl.File, size uint64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if same, err := sameFile(f, pinned); err != nil || !same {
		return cmp.Or(err, errForeign)
	}
	_, err = f.WriteAt(make([]byte, min(size, uint64(st.Size))), 0)
	return errors.Join(err, f.Sync())
}

// sameFile tells whether a name still leads to the file that was opened before.
func sameFile(f, before *ioctl.File) (bool, error) {
	st, err := f.Stat()
	was, wasErr := before.Stat()
	return st.Dev == was.Dev && st.Ino == was.Ino, errors.Join(err, wasErr)
}
