package run

import (
	"context"
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
)

// makeFile makes the file of a store. It gets its name when it is complete, so
// that an end at any earlier point leaves nothing. Then it is pinned: no user
// can write, truncate, punch, move or remove it. What is used is the file that was
// made here, never what has its name: a user may own the directory.
func (r *Runner) makeFile(ctx context.Context, s plan.Step) error {
	r.linked[s.File.Path] = false
	var f *ioctl.File
	err := r.inDir(s.File, func(dir *ioctl.File) (err error) {
		f, err = r.nameless(dir, s.File)
		return err
	})
	if f == nil {
		return err
	}
	if err != nil { // the directory could not be closed
		return errors.Join(err, f.Close())
	}
	if err = r.complete(ctx, f, s.File); err == nil {
		err = r.inDir(s.File, func(dir *ioctl.File) error { return r.publish(dir, f, s.File) })
	}
	return errors.Join(err, f.Close())
}

// nameless makes an empty file. Its mode is set, since any umask may have cut it.
func (r *Runner) nameless(dir *ioctl.File, file *plan.File) (*ioctl.File, error) {
	f, err := r.Kernel.Open(dir.Self(), unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return nil, plan.Refuse(plan.Unsupported, file.Path, "use another filesystem", "the filesystem of %s does not support O_TMPFILE", dir.Path())
	}
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o600); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// publish gives a complete file its name, and pins it.
func (r *Runner) publish(dir, f *ioctl.File, file *plan.File) error {
	if err := f.Link(path.Join(dir.Self(), path.Base(file.Path))); err != nil {
		return err
	}
	r.linked[file.Path] = true
	if err := errors.Join(r.tag(dir, file), r.pin(f, file)); err != nil {
		return err
	}
	if err := r.named(f, file); err != nil {
		if _, refused := errors.AsType[*plan.Refusal](err); refused {
			err = errors.Join(err, r.abandon(f, file))
		}
		return err
	}
	return errors.Join(f.Sync(), dir.Sync(), f.SyncFS())
}

// named makes sure that the file still has its name. Once it is pinned no user can
// take that away.
func (r *Runner) named(f *ioctl.File, file *plan.File) error {
	made, err := f.Stat()
	if err != nil {
		return err
	}
	found, err := r.Kernel.Lstat(file.Path)
	if err == nil && (found.Dev != made.Dev || found.Ino != made.Ino) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return plan.Refuse(plan.Busy, file.Path, "name a directory that only root can write to", "%s was renamed or replaced while it was created", file.Path)
	}
	return err
}

// abandon gives back what a file has whose name is another's by now.
func (r *Runner) abandon(f *ioctl.File, file *plan.File) error {
	r.linked[file.Path] = false
	flags, err := f.GetFlags()
	if err == nil {
		err = f.SetFlags(flags &^ store.PinFlag(file))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	return errors.Join(err, r.letFileGo(context.Background(), file))
}

// complete gives a file its blocks and refuses those that could not be mapped.
func (r *Runner) complete(ctx context.Context, f *ioctl.File, file *plan.File) error {
	flags := uint32(ioctl.FlagNoDump)
	if file.NoCOW {
		flags |= ioctl.FlagNoCOW
	}
	if err := addFlags(f, flags); err != nil {
		return err
	}
	if err := r.allocate(ctx, f, file); err != nil {
		return store.Unfit(err, file.Path)
	}
	if len(file.FillFor) > 0 {
		if err := fill(ctx, f, file.Size()); err != nil {
			return err
		}
	}
	if err := label(f, file); err != nil {
		return err
	}
	if err := f.Sync(); err != nil || file.Backing != plan.Extents {
		return err
	}
	_, err := store.Layout(f, file, ioctl.FiemapSync)
	return err
}

func label(f *ioctl.File, file *plan.File) error {
	if len(file.Pasts) > 0 {
		return writeLabels(f, file.Label)
	}
	return writeEnds(f, file.Label, file.Size())
}

func addFlags(f *ioctl.File, flags uint32) error {
	had, err := f.GetFlags()
	if err != nil {
		return err
	}
	return f.SetFlags(had | flags)
}

// fill writes zeros through the filesystem: images of other sets still need what
// was in these blocks before, and the fronts above copy it for them now. The
// store's own writes pass beneath the fronts and would copy nothing.
func fill(ctx context.Context, f *ioctl.File, size uint64) error {
	zeros := make([]byte, 1<<20)
	for at := uint64(0); at < size; at += uint64(len(zeros)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.WriteAt(zeros[:min(uint64(len(zeros)), size-at)], int64(at)); err != nil {
			return err
		}
	}
	return nil
}

// pin keeps users off the file, and its filesystem where it is. A loop device that
// serves as a store must go on writing through the descriptor it has, which
// append-only allows and ext4 does not on an immutable file; that descriptor must
// be opened first. What is mapped beneath its filesystem gets a loop device only
// to hold that.
func (r *Runner) pin(f *ioctl.File, file *plan.File) error {
	mode := unix.O_RDONLY
	if file.Backing == plan.Loop {
		mode = unix.O_RDWR
	}
	kept, err := r.reopen(f, file.Path, mode)
	if err != nil {
		return err
	}
	r.files[file.Path] = kept
	if err := addFlags(f, store.PinFlag(file)); err != nil || file.Backing == plan.Loop {
		return err
	}
	return noLoop(store.MakePin(r.Kernel, kept, file.Owner), file.Path)
}

// reopen opens a file that was just made once more, through the mount of process 1
// if that has it.
func (r *Runner) reopen(f *ioctl.File, name string, mode int) (*ioctl.File, error) {
	made, err := f.Stat()
	if err != nil {
		return nil, err
	}
	kept, err := store.OpenForAll(r.Kernel, name, made, mode)
	if err == nil {
		return kept, nil
	}
	r.Log.Debug("the file of a store is pinned in our own mount namespace", "path", name, "error", err)
	return r.Kernel.Open(f.Self(), mode, 0)
}
