package store

import (
	"errors"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Damage says what has become of the file of a live store, as far as reading
// tells; "" is well. Pinned files cannot be changed by accident: root must have
// taken the flag away. Nothing is known, and "" said, while the file's device is
// suspended or its filesystem not mounted.
func Damage(r *stack.Reader, file *plan.File, live targets.Table, ours *stack.View) (string, error) {
	if _, held, err := r.Suspended(file.Dev); err != nil || held {
		return "", err
	}
	f, err := r.Kernel.Open(file.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return gone(r, file)
	}
	if err != nil {
		return "", err
	}
	what, err := damage(f, file, live, ours)
	return what, errors.Join(err, f.Close())
}

// gone: a loop device keeps a removed file's blocks, the mapped ones are free for
// others.
func gone(r *stack.Reader, file *plan.File) (string, error) {
	st, err := r.Kernel.Stat(path.Dir(file.Path))
	mounted := err == nil && st.Dev == file.Dev
	if file.Backing != plan.Extents || !mounted {
		return "", nil
	}
	return "its store's file " + file.Path + " was deleted: its blocks may belong to another file by now", nil
}

func damage(f *ioctl.File, file *plan.File, live targets.Table, ours *stack.View) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if uint64(st.Size) < file.Size() {
		return "its store's file " + file.Path + " was truncated", nil
	}
	if file.Backing == plan.Loop {
		if plan.Hollow(live) {
			return "", nil
		}
		return holes(f, file)
	}
	on := file.Part(live, base(file.Over, ours))
	known := *file // the record of an older release may have been written before the table
	known.Bytes, known.Hollow = on.Size().Bytes(), plan.Hollow(live)
	want, err := Layout(f, &known, 0)
	if _, refused := errors.AsType[*plan.Refusal](err); refused {
		return "its store's file was changed: " + err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	dev := base(file.Over, ours)
	if len(on) == 0 || !known.Holds(on, numbered(want, dev), dev) {
		return "its store's file " + file.Path + " was moved to other blocks", nil
	}
	return "", nil
}

// holes looks for blocks that were punched out of a file.
func holes(f *ioctl.File, file *plan.File) (string, error) {
	extents, err := f.Extents(0)
	if err != nil {
		return "", err
	}
	next := uint64(0)
	for _, e := range extents {
		if e.Logical > next {
			break
		}
		next = e.Logical + e.Length
	}
	if next < file.Size() {
		return "blocks of its store's file " + file.Path + " were deallocated", nil
	}
	return "", nil
}

// base is the number of a device of ours; none if it is gone.
func base(name string, ours *stack.View) targets.DevNo {
	if d := ours.Named(name); d != nil {
		return d.Dev
	}
	return targets.DevNo{}
}

// numbered puts the number of the base in for its name.
func numbered(t targets.Table, base targets.DevNo) targets.Table {
	for i, row := range t {
		if l, ok := row.Target.(targets.Linear); ok {
			l.Dev = targets.Device{DevNo: base}
			t[i].Target = l
		}
	}
	return t
}
