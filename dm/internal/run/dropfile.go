package run

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// dropFile removes the file of a store, unless the store has it. A file that does not
// look like ours stays, and the log says so.
func (r *Runner) dropFile(ctx context.Context, s plan.Step) error {
	if s.Device != "" {
		if has, err := r.serves(s); err != nil || has {
			return err
		}
	}
	if len(s.File.FillFor) > 0 { // what an undo takes back
		r.Log.Warn("the stores of other sets keep what was copied to them while a store's file was made",
			"path", s.File.Path, "images", s.File.FillFor, "bytes_at_most", s.File.Size())
	}
	return errors.Join(r.dropNamed(ctx, s), r.dropDir(s.File))
}

func (r *Runner) dropNamed(ctx context.Context, s plan.Step) error {
	if linked, tried := r.linked[s.File.Path]; tried && !linked {
		return nil // it never had its name: another's file may have it
	}
	if err := r.letFileGo(ctx, s.File); err != nil {
		return err
	}
	f, err := r.Kernel.Open(s.File.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return r.missing(s.File)
	}
	if err != nil {
		return err
	}
	err = r.unpin(f)
	if errors.Is(err, errForeign) {
		r.Log.Warn("not deleted: it no longer looks like the file of a store", "path", s.File.Path)
		return f.Close()
	}
	if err == nil {
		r.wipeFile(f, s.File.Path)
		err = r.Kernel.Unlink(s.File.Path)
	}
	if err == nil {
		err = r.Kernel.SyncDir(path.Dir(s.File.Path))
	}
	return errors.Join(err, f.Close())
}

// letFileGo ends the pins of a file, wherever that is by now.
func (r *Runner) letFileGo(ctx context.Context, file *plan.File) error {
	if file.Backing != plan.Extents || file.Owner == "" {
		return nil
	}
	pins, err := store.Pins(r.Kernel)
	for _, p := range pins {
		if p.Owner == file.Owner {
			err = errors.Join(err, p.Remove(ctx, r.Kernel, r.BusyTimeout))
		}
	}
	return err
}

var errForeign = errors.New("not the file of a store")

// unpin lets a file of ours be changed and removed.
func (r *Runner) unpin(f *ioctl.File) error {
	flags, err := ours(f)
	if err != nil {
		return err
	}
	return f.SetFlags(flags &^ (ioctl.FlagImmutable | ioctl.FlagAppend))
}

// ours gives the flags of a file of ours: root's, readable by root only, and not
// for backups.
func ours(f *ioctl.File) (flags uint32, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Is(unix.S_IFREG) || st.UID != 0 || st.Mode&0o077 != 0 {
		return 0, errForeign
	}
	if flags, err = f.GetFlags(); err == nil && flags&ioctl.FlagNoDump == 0 {
		err = errForeign
	}
	return flags, err
}

// missing tells a file that was removed from one whose filesystem is not
// mounted: that one remains.
func (r *Runner) missing(file *plan.File) error {
	dir, err := r.Kernel.Stat(path.Dir(file.Path))
	if err == nil && dir.Dev == file.Dev || file.Dev == (targets.DevNo{}) {
		return nil
	}
	r.Log.Warn("the store's file remains, since its filesystem is not mounted: mount it, then chattr -ia and delete the file",
		"path", file.Path, "filesystem", fmt.Sprint(file.Dev))
	return nil
}
