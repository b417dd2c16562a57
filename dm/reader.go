package dm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// StateError says that an image is not, or no longer, what its origin held at
// the cut. It is found with errors.As inside an Error of CodeNoSpace (overflow,
// invalid and bypassed) or CodeFailed.
type StateError struct {
	Device string // the image
	State  State
	Reason string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("%s is %s: %s", e.Device, e.State, e.Reason)
}

// unusable is the error of a volume that must not be served as good.
func unusable(v Volume) error {
	e := &Error{
		Device: v.Device, Code: CodeFailed, Hint: "remove the set and take a new one",
		Err: &StateError{Device: v.Device, State: v.State, Reason: v.Reason},
	}
	switch v.State {
	case StateOverflow, StateInvalid:
		e.Code, e.Hint = CodeNoSpace, "remove the set and take a new one with a larger store"
	case StateBypassed:
		e.Code = CodeNoSpace
	}
	return e
}

// readable tells whether an image still reads as it was cut. In an overflow only
// its writers have lost something.
func (v Volume) readable() bool { return v.State == StateActive || v.State == StateOverflow }

// Reader reads the image of one volume. As long as it is open the set cannot be
// removed. All methods but Close may be called from several goroutines.
type Reader struct {
	s      *session
	file   *ioctl.File
	set    string // uuid
	volume Volume
	size   int64
}

var _ io.ReaderAt = (*Reader)(nil)

// OpenVolume opens the image of one volume for reading. The volume is named as
// in Volume.Name; "" is the only one of a set. It does not wait for anybody, so
// ctx is only looked at before it begins.
//
// Errors: ErrNotFound for a set or volume that does not exist, ErrUsage for "" in
// a set of several, a *StateError for an image that is no good any more.
func (m *Manager) OpenVolume(ctx context.Context, set, volume string) (_ *Reader, err error) {
	s, err := m.open("read", set)
	if err != nil {
		return nil, err
	}
	r := &Reader{s: s}
	if err = ctx.Err(); err == nil {
		err = r.open(volume)
	}
	if err != nil {
		s.close()
		return nil, s.fail(err)
	}
	return r, nil
}

func (r *Reader) open(volume string) error {
	set, err := r.s.show(r.s.set)
	if err != nil {
		return err
	}
	v, err := set.pick(volume)
	if err != nil {
		return err
	}
	if !v.readable() {
		return unusable(v)
	}
	dev, err := targets.ParseDevNo(v.Devno)
	if err != nil {
		return err
	}
	// By number: a name may be mangled, or another device's by now.
	f, err := r.s.kernel.Open(fmt.Sprintf("/dev/dm-%d", dev.Minor), unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	size, err := f.BlockSize()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file, r.set, r.volume, r.size = f, set.UUID, v, int64(size)
	return nil
}

// pick finds a volume by name.
func (s *Set) pick(volume string) (Volume, error) {
	if volume == "" && len(s.Volumes) == 1 {
		return s.Volumes[0], nil
	}
	if volume == "" {
		return Volume{}, plan.Refuse(plan.Usage, "", "name one of them", "set %s has %d volumes", s.Name, len(s.Volumes))
	}
	i := slices.IndexFunc(s.Volumes, func(v Volume) bool { return v.Name == volume })
	if i < 0 {
		return Volume{}, plan.Refuse(plan.NotFound, "", "dmsnap show lists its volumes", "set %s has no volume %s", s.Name, volume)
	}
	return s.Volumes[i], nil
}

// Volume is the volume as it was when it was opened.
func (r *Reader) Volume() Volume { return r.volume }

// Size is the size of the image in bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt; offsets are bytes. It blocks as long as the
// disks need. A read that fails because the image was lost says so with a
// *StateError, not with EIO. A read that reaches the end of the image does a
// Check: whoever reads to the end without an error has read the past.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.file.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) || off+int64(n) >= r.size {
		if lost := r.Check(); lost != nil {
			return n, lost
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		return n, err // EOF bare, as readers compare it
	}
	return n, r.s.fail(err)
}

// Check tells whether the image is still what its origin held at the cut, and so
// whether all that was read so far is: nil, or a *StateError. An image can be
// lost without a read failing, when somebody reloads the origin's table. It
// takes no lock and waits for nobody.
func (r *Reader) Check() error {
	v, err := r.now()
	if err == nil && !v.readable() {
		err = unusable(v)
	}
	return r.s.fail(err)
}

// now is the volume as it is.
func (r *Reader) now() (Volume, error) {
	sets, err := r.s.list()
	if err != nil {
		return Volume{}, err
	}
	for _, set := range sets {
		for _, v := range set.Volumes {
			if set.UUID == r.set && v.Devno == r.volume.Devno {
				return v, nil
			}
		}
	}
	gone := r.volume
	gone.State, gone.Reason = StateBroken, "its image no longer exists"
	return gone, nil
}

// Close closes the image. It checks nothing.
func (r *Reader) Close() error {
	err := r.file.Close()
	r.s.close()
	return r.s.fail(err)
}
