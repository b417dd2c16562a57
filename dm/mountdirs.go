package dm

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// mountDirs are the directories that Mount makes, and Unmount removes again.
type mountDirs struct {
	kernel *ioctl.Kernel
	state  journal.Dir
}

// create makes a directory and those above it, and returns the ones it made,
// outermost first.
func (d mountDirs) create(dir string) (made []string, err error) {
	st, err := d.kernel.Stat(dir)
	switch {
	case err == nil && !st.Is(unix.S_IFDIR):
		return nil, plan.Refuse(plan.Usage, dir, "name a directory; it is created if missing", "%s is not a directory", dir)
	case err == nil:
		return nil, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if made, err = d.create(path.Dir(dir)); err != nil {
		return made, err
	}
	if err := d.kernel.Mkdir(dir, 0o755); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// remove removes directories that mount made, innermost first. One that is not empty
// stays.
func (d mountDirs) remove(dirs []string) error {
	var errs []error
	for _, dir := range slices.Backward(dirs) {
		err := d.kernel.Rmdir(dir)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// record keeps the made directories for Unmount. A set without a record
// keeps none.
func (d mountDirs) record(name string, dirs []string) error {
	if len(dirs) == 0 {
		return nil
	}
	set, err := d.state.LoadSet(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	before := set.MadeDirs
	set.MadeDirs = append(slices.Clip(before), dirs...)
	if err := d.state.SaveSet(set); err != nil {
		set.MadeDirs = before
		return errors.Join(err, d.state.SaveSet(set))
	}
	return nil
}

// forget removes the directories that mount made, also those that an earlier
// unmount could not.
func (d mountDirs) forget(name string) (forgot bool, err error) {
	set, err := d.state.LoadSet(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || len(set.MadeDirs) == 0 {
		return false, err
	}
	if err := d.remove(set.MadeDirs); err != nil {
		return false, err
	}
	set.MadeDirs = nil
	return true, d.state.SaveSet(set)
}
