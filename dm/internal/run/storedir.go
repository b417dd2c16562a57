package run

import (
	"errors"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// tagText is what makes a tag of plan.DirTag.
const tagText = "Signature: 8a477f597d28d172789f06886806bc55\n# Exception stores of dmsnap: exclude from backups.\n"

// inStoreDir tells a file in a directory that dmsnap makes from one whose place a
// user chose.
func inStoreDir(file *plan.File) bool { return path.Base(path.Dir(file.Path)) == plan.StoreDir }

// inDir does something in the directory of a store's file, once more in a new one
// if another operation takes the directory away as empty just then.
func (r *Runner) inDir(file *plan.File, do func(dir *ioctl.File) error) error {
	for try := 1; ; try++ {
		dir, err := r.storeDir(file)
		if err == nil {
			err = errors.Join(do(dir), dir.Close())
		}
		if again := errors.Is(err, unix.ENOENT) && inStoreDir(file) && !r.linked[file.Path]; !again || try == 3 {
			return err
		}
	}
}

// storeDir opens the directory that a store's file is made in, and makes it first
// if it is ours to make. All goes through the descriptor: the name may lead
// somewhere else a moment later, where a user owns the filesystem's root.
func (r *Runner) storeDir(file *plan.File) (*ioctl.File, error) {
	name := path.Dir(file.Path)
	if !inStoreDir(file) {
		return r.Kernel.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	}
	if err := r.Kernel.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return r.openOwn(name)
}

// openOwn opens a directory that only root can use, or refuses it.
func (r *Runner) openOwn(name string) (*ioctl.File, error) {
	dir, err := r.Kernel.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, notOurs(name)
	}
	if err != nil {
		return nil, err
	}
	st, err := dir.Stat()
	if err == nil && (st.UID != 0 || st.Mode&0o077 != 0) {
		err = notOurs(name)
	}
	if err == nil && st.Mode&0o777 != 0o700 {
		err = dir.Chmod(0o700) // the umask cut it
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

func notOurs(dir string) error {
	return plan.Refuse(plan.Usage, dir, "move it away, or name a file: --store file:PATH", "%s is not a directory that only root can use", dir)
}

// tag comes after the file has its name: a process that removes the directory as empty
// meanwhile puts the tag back.
func (r *Runner) tag(dir *ioctl.File, file *plan.File) error {
	if !inStoreDir(file) {
		return nil
	}
	name := path.Join(dir.Self(), plan.DirTag)
	_, err := r.Kernel.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = r.Kernel.WriteFile(name, []byte(tagText), 0o600)
	}
	return err
}

// dropDir removes the directory of stores' files when no file is left in it.
func (r *Runner) dropDir(file *plan.File) error {
	if !inStoreDir(file) {
		return nil
	}
	name := path.Dir(file.Path)
	dir, err := r.openOwn(name)
	if _, foreign := errors.AsType[*plan.Refusal](err); foreign || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(r.dropEmpty(dir, name), dir.Close())
}

func (r *Runner) dropEmpty(dir *ioctl.File, name string) error {
	names, err := r.Kernel.ReadDir(dir.Self())
	if err != nil || len(names) > 1 || len(names) == 1 && names[0] != plan.DirTag {
		return err
	}
	tag := path.Join(dir.Self(), plan.DirTag)
	if err := r.Kernel.Unlink(tag); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = r.Kernel.Rmdir(name)
	if errors.Is(err, fs.ErrExist) { // ENOTEMPTY: another store's file has come meanwhile
		return r.Kernel.WriteFile(tag, []byte(tagText), 0o600)
	}
	return err
}
