package nsexec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// layer carries a layout out. It changes the mount namespace and the root of its
// whole process.
type layer struct {
	k      *ioctl.Kernel
	layout Layout
}

// lay mounts what the program says, and returns what the command will see.
func lay(k *ioctl.Kernel, p Program) (Layout, error) {
	// What the host mounts later still arrives; what is mounted here stays here.
	if err := k.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return Layout{}, err
	}
	l := layer{k: k}
	if !p.Over {
		return l.layout, l.mountBeside(p)
	}
	mounts, err := ownMounts()
	if err != nil {
		return Layout{}, err
	}
	if l.layout, err = Plan(mounts, p); err != nil {
		return Layout{}, err
	}
	return l.layout, l.mountOver(p)
}

func ownMounts() (mounts []Mount, err error) {
	all, err := mountinfo.GetMounts(nil)
	for _, m := range all {
		mounts = append(mounts, Mount{
			ID: m.ID, Parent: m.Parent, Dev: fmt.Sprintf("%d:%d", m.Major, m.Minor), Root: m.Root, Path: m.Mountpoint, FSType: m.FSType, Source: m.Source,
		})
	}
	return mounts, err
}

// mountBeside mounts the images where nothing is hidden by them.
func (l *layer) mountBeside(p Program) error {
	if p.Below != "" {
		if err := l.k.Mount("dmsnap", p.Below, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	for _, image := range p.Images {
		if image.At == "" {
			continue
		}
		if p.Below != "" {
			if err := os.MkdirAll(image.At, 0o755); err != nil {
				return err
			}
		}
		if err := l.mountImage(image, image.At); err != nil {
			return err
		}
		if err := l.mask(path.Join(image.At, storeDir)); err != nil {
			return err
		}
		l.layout.Laid = append(l.layout.Laid, image.At)
	}
	return nil
}

func (l *layer) mountImage(image Image, at string) error {
	data := strings.TrimPrefix(strings.TrimPrefix(image.Options, "ro"), ",")
	return l.k.Mount(image.Device, at, image.FSType, unix.MS_RDONLY, data)
}

// mountOver works in a scratch directory that no path leads to: a tmpfs mounted
// over the root, which processes that have a root already do not see. All
// paths that begin with a slash are still those of the namespace.
func (l *layer) mountOver(p Program) error {
	scratch, err := l.k.MountPrivate("tmpfs", "", "mode=700")
	if err != nil {
		return err
	}
	defer scratch.Close()
	if err := unix.MoveMount(scratch.Fd(), "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("mount the scratch directory", err)
	}
	if err := unix.Fchdir(scratch.Fd()); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	for i, image := range p.Images {
		if err := os.Mkdir(imageDir(i), 0o700); err != nil {
			return err
		}
		if err := l.mountImage(image, imageDir(i)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(newRoot, 0o700); err != nil {
		return err
	}
	pivoted := false
	for _, o := range l.layout.Ops {
		if err := l.do(o); err != nil {
			return fmt.Errorf("%s %s: %w", o.Do, o.From+" "+o.To, err)
		}
		pivoted = pivoted || o.Do == Pivot
	}
	if pivoted { // the old root is gone, and the scratch directory with it
		return nil
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("detach the scratch directory", err)
	}
	return os.Chdir("/")
}

func (l *layer) do(o Op) (err error) {
	switch o.Do {
	case Bind:
		if err := l.place(o.From, o.To); err != nil {
			return err
		}
		err = unix.Mount(o.From, o.To, "", unix.MS_BIND, "")
	case Take:
		if err := l.place(o.From, o.To); err != nil {
			return err
		}
		err = unix.Mount(o.From, o.To, "", unix.MS_MOVE, "")
	case Drop:
		return unix.Unmount(o.From, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	case Lay:
		err = unix.Mount(o.From, o.To, "", unix.MS_BIND, "")
	case Put:
		err = unix.Mount(o.From, o.To, "", unix.MS_MOVE, "")
	case Mask:
		return l.mask(o.To)
	case Pivot:
		return pivot(o.From)
	}
	if o.Optional && errors.Is(err, fs.ErrNotExist) {
		l.leaveOut(o.To)
		return nil
	}
	return err
}

// leaveOut notes that an image has no directory for something.
func (l *layer) leaveOut(at string) {
	l.layout.LeftOut = append(l.layout.LeftOut, path.Join("/", strings.TrimPrefix(at, newRoot)))
}

// place makes a mount point of the kind of what comes to it.
func (l *layer) place(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return os.Mkdir(to, 0o700)
	}
	return os.WriteFile(to, nil, 0o600)
}

// mask hides files of stores, whose contents in an image mean nothing.
func (l *layer) mask(dir string) error {
	if st, err := os.Lstat(dir); err != nil || !st.IsDir() {
		return nil // there are none
	}
	return l.k.Mount("dmsnap", dir, "tmpfs", unix.MS_RDONLY, "mode=700")
}

// pivot makes a directory the root of the process, and detaches the old one: it
// comes to lie on top of the new one, where "." leads to it.
func pivot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	return errors.Join(unix.Unmount(".", unix.MNT_DETACH), unix.Chdir("/"))
}
