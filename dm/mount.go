package dm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/targets"
)

// Mount mounts the images of a set read-only: one volume on dir itself, several
// at their origins' mount points below dir. Each filesystem gets the options it
// needs beside its live twin. Missing directories are made, and removed again by
// Unmount. All images are mounted, or none; the context is looked at before each.
func (m *Manager) Mount(ctx context.Context, name, dir string) (done []Mounted, err error) {
	s, err := m.open("mount", name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer s.warnOfStalls(ctx, "inspect the images")()
	done, err = s.mount(ctx, name, dir)
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

func (s *session) mount(ctx context.Context, name, dir string) ([]Mounted, error) {
	if !path.IsAbs(dir) {
		return nil, plan.Refuse(plan.Usage, dir, "use an absolute path", "%s is not an absolute path", dir)
	}
	return withSetLock(ctx, s, name, func(set *Set) ([]Mounted, error) {
		todo, err := s.mountPlan(set, path.Clean(dir))
		if err != nil {
			return nil, err
		}
		j := mountJob{s: s, set: set}
		for _, m := range todo {
			if err := j.add(ctx, m); err != nil {
				return nil, j.undo(err)
			}
		}
		if err := s.recordDirs(name, j.dirs); err != nil {
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

// mountPlan decides what goes where, outer mount points first, before anything
// is mounted.
func (s *session) mountPlan(set *Set, dir string) ([]Mounted, error) {
	var out []Mounted
	for _, v := range set.Volumes {
		m, err := s.mountOptions(v)
		if err != nil {
			return nil, err
		}
		m.Path = dir
		if len(set.Volumes) > 1 {
			m.Path = path.Join(dir, mountDirOf(v))
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Mounted) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(out); i++ {
		if out[i].Path == out[i-1].Path {
			return nil, plan.Refuse(plan.Usage, out[i].Path, "mount the devices by hand", "%s and %s would both be mounted on %s", out[i-1].Volume, out[i].Volume, out[i].Path)
		}
	}
	return out, nil
}

// mountDirOf is a volume's place among several.
func mountDirOf(v Volume) string {
	if len(v.Mountpoints) > 0 {
		return v.Mountpoints[0]
	}
	return v.Name
}

func (s *session) mountOptions(v Volume) (Mounted, error) {
	m := Mounted{Volume: v.Name, Device: v.Device}
	if !v.readable() {
		return m, unusableError(v)
	}
	dev, err := targets.ParseDevNo(v.Devno)
	if err != nil {
		return m, err
	}
	f, err := s.kernel.Open(fmt.Sprintf("/dev/dm-%d", dev.Minor), unix.O_RDONLY, 0)
	if err != nil {
		return m, err
	}
	found, err := probe.Identify(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return m, err
	}
	if v.FSType != "" { // the kernel's own name for it, where it was mounted
		found.Type, found.Filesystem = v.FSType, true
	}
	m.FSType = found.Type
	m.Options, err = besideTwin(v, found)
	return m, err
}

// besideTwin are the mount options with which an image can be mounted while its
// origin is.
func besideTwin(v Volume, found probe.Found) (string, error) {
	switch found.Type {
	case "xfs":
		// Its log is dirty on purpose even when frozen, and cannot be replayed on
		// a read-only device; its UUID is the origin's.
		return "ro,nouuid,norecovery", nil
	case "ext2", "ext3", "ext4":
		// The superblock may say panic: right for the origin, and not for an image
		// whose store overflows.
		if found.NeedsRecovery && !v.Writable {
			return "ro,noload,errors=continue", nil
		}
		return "ro,errors=continue", nil
	case "f2fs", "nilfs2":
		return "ro,norecovery", nil
	case "btrfs":
		return "", plan.Refuse(plan.Unsupported, v.Device, "read it on a host without the origin, or with btrfs restore",
			"%s holds a btrfs, and the kernel takes two devices with the same btrfs UUID for one filesystem", v.Device)
	}
	if !found.Filesystem {
		what := "no known filesystem"
		if found.Type != "" {
			what = "a " + found.Type + ", not a filesystem"
		}
		return "", plan.Refuse(plan.Unsupported, v.Device, "use the device itself", "%s holds %s", v.Device, what)
	}
	return "ro", nil
}

// mountJob remembers what to take back.
type mountJob struct {
	s    *session
	set  *Set
	done []Mounted
	dirs []string
}

func (j *mountJob) add(ctx context.Context, m Mounted) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	made, err := j.s.makeDirs(m.Path)
	j.dirs = append(j.dirs, made...)
	if err != nil {
		return err
	}
	data := strings.TrimPrefix(strings.TrimPrefix(m.Options, "ro"), ",")
	j.s.stalls.Now("mount " + m.Path)
	if err := j.s.kernel.Mount(m.Device, m.Path, m.FSType, unix.MS_RDONLY, data); err != nil {
		return err
	}
	j.done = append(j.done, m)
	return nil
}

// undo takes everything back and returns the cause, with what could not be.
func (j *mountJob) undo(cause error) error {
	var errs []error
	for _, m := range slices.Backward(j.done) {
		errs = append(errs, j.s.kernel.Unmount(m.Path, 0))
	}
	if err := errors.Join(append(errs, j.s.dropDirs(j.dirs))...); err != nil {
		return &run.UndoError{Cause: cause, Undo: err}
	}
	return cause
}

// makeDirs makes a directory and those above it, and returns the ones it made,
// outermost first.
func (s *session) makeDirs(dir string) (made []string, err error) {
	st, err := s.kernel.Stat(dir)
	switch {
	case err == nil && !st.Is(unix.S_IFDIR):
		return nil, plan.Refuse(plan.Usage, dir, "name a directory; it is created if missing", "%s is not a directory", dir)
	case err == nil:
		return nil, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if made, err = s.makeDirs(path.Dir(dir)); err != nil {
		return made, err
	}
	if err := s.kernel.Mkdir(dir, 0o755); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// dropDirs removes directories that mount made, innermost first. One that
// somebody put something into stays.
func (s *session) dropDirs(dirs []string) error {
	var errs []error
	for _, d := range slices.Backward(dirs) {
		err := s.kernel.Rmdir(d)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recordDirs keeps the made directories for Unmount. A set without a record
// keeps none.
func (s *session) recordDirs(name string, dirs []string) error {
	if len(dirs) == 0 {
		return nil
	}
	set, err := s.state.LoadSet(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	before := set.MadeDirs
	set.MadeDirs = append(slices.Clip(before), dirs...)
	if err := s.state.SaveSet(set); err != nil {
		set.MadeDirs = before
		return errors.Join(err, s.state.SaveSet(set))
	}
	return nil
}

func (s *session) unmount(ctx context.Context, name string) error {
	_, err := withSetLock(ctx, s, name, func(set *Set) (struct{}, error) {
		return struct{}{}, s.unmountSet(ctx, set)
	})
	return err
}

func (s *session) unmountSet(ctx context.Context, set *Set) error {
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
		s.stalls.Now("unmount " + m.path)
		if err := s.kernel.Unmount(m.path, 0); err != nil {
			return partialUnmount(i, s.unmountFailed(m, err))
		}
	}
	forgot, err := s.forgetDirs(set.Name)
	if err == nil && !forgot && len(all) == 0 {
		return plan.Refuse(plan.NotFound, "", "dmsnap mount mounts it", "no image of %s is mounted", set.Name)
	}
	return partialUnmount(len(all), err)
}

// partialUnmount is the error of an unmount that had unmounted some images before. The
// same command again goes on.
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

func (s *session) unmountFailed(m mountedImage, err error) error {
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	b := &BusyError{Device: m.path}
	if dev, perr := targets.ParseDevNo(m.volume.Devno); perr == nil {
		for _, p := range s.read.Users(dev) {
			b.Holders = append(b.Holders, Holder{Kind: HolderProcess, Device: m.volume.Device, PID: p.PID, Command: p.Command})
		}
	}
	return &Error{Device: m.path, Code: CodeBusy, Err: b, Hint: "end the processes that use it, then try again"}
}

// forgetDirs removes the directories that mount made, also those that an earlier
// unmount could not.
func (s *session) forgetDirs(name string) (forgot bool, err error) {
	set, err := s.state.LoadSet(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || len(set.MadeDirs) == 0 {
		return false, err
	}
	if err := s.dropDirs(set.MadeDirs); err != nil {
		return false, err
	}
	set.MadeDirs = nil
	return true, s.state.SaveSet(set)
}
