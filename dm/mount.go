package dm

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
)

// Mount mounts the images of a set read-only: one volume on dir itself, several
// at their origins' mount points below dir. Each filesystem gets the options it
// needs beside its live twin. Missing directories are made, and removed again by
// Unmount. All images are mounted, or none; the context is looked at before each.
func (m *Manager) Mount(ctx context.Context, name, dir string) (done []Mounted, err error) {
	return m.MountWith(ctx, MountRequest{Name: name, Dir: dir})
}

// MountWith is Mount in another layout, or with what Mount leaves out.
func (m *Manager) MountWith(ctx context.Context, r MountRequest) (done []Mounted, err error) {
	s, err := m.open("mount", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer s.warnOfStalls(ctx, "inspect the images")()
	done, err = s.mount(ctx, r)
	return done, s.fail(err)
}

// Unmount unmounts the images of a set wherever they are mounted in our mount
// namespace. A busy one is refused with CodeBusy and the processes that use it,
// or with CodePartial if others were unmounted before it: they stay so. The
// context is looked at before each.
func (m *Manager) Unmount(ctx context.Context, name string) (err error) {
	s, err := m.open("umount", name)
	if err != nil {
		return err
	}
	defer s.close()
	defer s.warnOfStalls(ctx, "inspect the images")()
	return s.fail(s.unmount(ctx, name))
}

func (s *session) mount(ctx context.Context, r MountRequest) ([]Mounted, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return withSetLock(ctx, s, r.Name, func(set *Set) ([]Mounted, error) {
		todo, err := mountPlan(s.kernel, set, r)
		if err != nil {
			return nil, err
		}
		s.warnOfOldTree(set, todo)
		j := mountJob{kernel: s.kernel, flags: r.flags(), watch: s.stalls, dirs: mountDirs{s.kernel, s.state}}
		for _, m := range todo {
			if err := j.add(ctx, m); err != nil {
				return nil, j.undo(err)
			}
		}
		if err := j.dirs.record(r.Name, j.newDirs); err != nil {
			return nil, j.undo(err)
		}
		return todo, nil
	})
}

// withSetLock runs f on a set under the lock of its name.
func withSetLock[T any](ctx context.Context, s *session, name string, f func(*Set) (T, error)) (result T, err error) {
	if err := s.state.Init(); err != nil {
		return result, err
	}
	var set *Set
	locks, err := s.lockFor(ctx, change{look: func() (keys []string, err error) {
		if set, err = s.sets.show(name); err != nil {
			return nil, err
		}
		return []string{journal.SetKey(name), journal.IDKey(set.UUID)}, nil
	}})
	if err != nil {
		return result, err
	}
	defer s.unlock(locks)
	return f(set)
}

func (s *session) unmount(ctx context.Context, name string) error {
	_, err := withSetLock(ctx, s, name, func(set *Set) (struct{}, error) {
		u := unmounter{s.kernel, s.read, s.stalls, mountDirs{s.kernel, s.state}}
		return struct{}{}, u.unmount(ctx, set)
	})
	return err
}

// mountJob remembers what to take back.
type mountJob struct {
	kernel  *ioctl.Kernel
	flags   uintptr
	watch   *run.StallWarner
	dirs    mountDirs
	done    []Mounted
	newDirs []string
}

func (j *mountJob) add(ctx context.Context, m Mounted) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	made, err := j.dirs.create(m.Path)
	j.newDirs = append(j.newDirs, made...)
	if err != nil {
		return err
	}
	data := strings.TrimPrefix(strings.TrimPrefix(m.Options, flagText(j.flags)), ",")
	j.watch.Now("mount " + m.Path)
	if err := j.kernel.Mount(m.Device, m.Path, m.FSType, j.flags, data); err != nil {
		return err
	}
	j.done = append(j.done, m)
	return nil
}

// undo takes everything back and returns the cause, with what could not be.
func (j *mountJob) undo(cause error) error {
	var errs []error
	for _, m := range slices.Backward(j.done) {
		errs = append(errs, j.kernel.Unmount(m.Path, 0))
	}
	if err := errors.Join(append(errs, j.dirs.remove(j.newDirs))...); err != nil {
		return &run.UndoError{Cause: cause, Undo: err}
	}
	return cause
}

// unmounter unmounts the images of a set.
type unmounter struct {
	kernel *ioctl.Kernel
	read   *stack.Reader
	watch  *run.StallWarner
	dirs   mountDirs
}

func (u unmounter) unmount(ctx context.Context, set *Set) error {
	var all []mountedImage
	for _, v := range set.Volumes {
		for _, p := range v.ImageMounts {
			all = append(all, mountedImage{v, p})
		}
	}
	slices.SortFunc(all, func(a, b mountedImage) int { return strings.Compare(b.path, a.path) })
	for i, m := range all {
		if err := ctx.Err(); err != nil {
			return partialUnmount(i, err)
		}
		u.watch.Now("unmount " + m.path)
		if err := u.kernel.Unmount(m.path, 0); err != nil {
			return partialUnmount(i, u.failed(m, err))
		}
	}
	forgot, err := u.dirs.forget(set.Name)
	if err == nil && !forgot && len(all) == 0 {
		return plan.Refuse(plan.NotFound, "", "dmsnap mount mounts it", "no image of %s is mounted", set.Name)
	}
	return partialUnmount(len(all), err)
}

// partialUnmount is the error of an unmount that had unmounted some images before. The
// same command again continues.
func partialUnmount(unmounted int, err error) error {
	if err == nil || unmounted == 0 {
		return err
	}
	partial := &Error{Code: CodePartial, Err: err, Hint: "run the same command again"}
	if e, ok := errors.AsType[*Error](err); ok {
		partial.Device, partial.Err, partial.Hint, partial.command = e.Device, e.Err, e.Hint, e.command
	}
	return partial
}

type mountedImage struct {
	volume Volume
	path   string
}

func (u unmounter) failed(m mountedImage, err error) error {
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	b := &BusyError{Device: m.path}
	if m.volume.Devno != (DevNo{}) {
		for _, p := range u.read.Users(m.volume.Devno) {
			b.Holders = append(b.Holders, Holder{Kind: HolderProcess, Device: m.volume.Device, PID: p.PID, Command: p.Command})
		}
	}
	return &Error{Device: m.path, Code: CodeBusy, Err: b, Hint: "end the processes that use it, then try again"}
}
