package store

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// pinMark is what the marks of pins begin with.
const pinMark = "dmsnap-pin-"

// Pin is a loop device over the file of a store that is mapped beneath its
// filesystem. Nobody uses it; but as long as it is there the kernel refuses to
// unmount that filesystem, and to make another one on its device, even after a lazy
// unmount. Otherwise the store would go on to write where other data lies by then.
type Pin struct {
	Owner string // of the file
	File  string // its path by now
	loop  string // node
}

// MakePin pins a file: the mount that it was opened through cannot be unmounted.
func MakePin(k *ioctl.Kernel, f *ioctl.File, owner string) error { return k.PinFile(f, pinMark+owner) }

// OpenForAll opens a file through the mount of process 1: a pin made through another
// mount namespace keeps only that namespace's mount. ENOENT: process 1 has another file
// of that name, or none.
func OpenForAll(k *ioctl.Kernel, name string, want ioctl.Stat, mode int) (*ioctl.File, error) {
	f, err := k.Open("/proc/1/root"+name, mode|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && (st.Dev != want.Dev || st.Ino != want.Ino) {
		err = unix.ENOENT
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// PinFlag keeps users off a file. What writes through a loop device must go on, which
// append-only allows.
func PinFlag(file *plan.File) uint32 {
	if file.Backing == plan.Loop {
		return ioctl.FlagAppend
	}
	return ioctl.FlagImmutable
}

// SetPinFlag sets PinFlag on a file of ours that still has its name.
func SetPinFlag(k *ioctl.Kernel, file *plan.File) error {
	f, err := k.Open(file.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	flags, err := f.GetFlags()
	if want := flags | PinFlag(file); err == nil && flags&ioctl.FlagNoDump != 0 && flags != want {
		err = f.SetFlags(want)
	}
	return errors.Join(err, f.Close())
}

// MakeNamedPin pins a file by its name.
func MakeNamedPin(k *ioctl.Kernel, name, owner string) error {
	f, err := k.Open(name, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		if all, err := OpenForAll(k, name, st, unix.O_RDONLY); err == nil {
			return errors.Join(MakePin(k, all, owner), all.Close(), f.Close())
		}
		err = MakePin(k, f, owner)
	}
	return errors.Join(err, f.Close())
}

// Pins finds all pins of the host, whichever state directory knows their sets.
func Pins(k *ioctl.Kernel) (pins []Pin, err error) {
	names, err := k.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "loop") || !mayPin(k, name) {
			continue
		}
		p := Pin{File: backing(k, name), loop: "/dev/" + name}
		loop, err := k.Open(p.loop, unix.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		mark, err := loop.LoopMark()
		if err = errors.Join(err, loop.Close()); errors.Is(err, unix.ENXIO) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		var ours bool
		if p.Owner, ours = strings.CutPrefix(mark, pinMark); ours {
			pins = append(pins, p)
		}
	}
	return pins, nil
}

// mayPin keeps other people's loop devices from being opened: none has a file, but
// no size.
func mayPin(k *ioctl.Kernel, name string) bool {
	return backing(k, name) != "" && sysText(k, name, "size") == "0" && sysText(k, name, "ro") == "1"
}

func backing(k *ioctl.Kernel, name string) string { return sysText(k, name, "loop/backing_file") }

func sysText(k *ioctl.Kernel, name, attr string) string {
	b, err := k.ReadFile("/sys/block/" + name + "/" + attr)
	if err != nil {
		return "" // gone since, or never had one
	}
	return strings.TrimSuffix(string(b), "\n")
}

// Remove takes a pin off. It waits, up to a limit, while another program such as udev
// has the loop device open: until it is closed the filesystem cannot be unmounted.
func (p Pin) Remove(ctx context.Context, k *ioctl.Kernel, limit time.Duration) error {
	loop, err := k.Open(p.loop, unix.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Its number may be another's by now. While we have it open it stays what it is.
	mark, err := loop.LoopMark()
	if err == nil && mark == pinMark+p.Owner {
		err = loop.DetachLoop()
	}
	if err = errors.Join(err, loop.Close()); errors.Is(err, unix.ENXIO) {
		return nil
	}
	for end := time.Now().Add(limit); err == nil && p.inPlace(k) && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return err
}

// inPlace reports whether the loop device still pins the file.
func (p Pin) inPlace(k *ioctl.Kernel) bool {
	name := strings.TrimPrefix(p.loop, "/dev/")
	return mayPin(k, name) && backing(k, name) == p.File
}
