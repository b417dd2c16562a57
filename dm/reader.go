package dm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
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

// unusableError is the error of a volume that must not be served as good.
func unusableError(v Volume) error {
	if v.bookmark {
		return plan.Refuse(plan.Unsupported, "", "name a set that has images", "volume %s is a bookmark: it has the list of what changed, and no image", v.Name)
	}
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
func (v Volume) readable() bool {
	return !v.bookmark && (v.State == StateActive || v.State == StateOverflow)
}

// imageNode is where the image is opened, by number: a name may be mangled, or another
// device's by now. What is left of a removed set has no image.
func (v Volume) imageNode() (string, error) {
	if v.Devno == (DevNo{}) {
		return "", plan.Refuse(plan.NotFound, "", "name a set that reads through it", "volume %s has no image: its set was removed", v.Name)
	}
	return fmt.Sprintf("/dev/dm-%d", v.Devno.Minor), nil
}

// OpenRequest names the image to be read.
type OpenRequest struct {
	Set string
	// Volume is Volume.Name, or the origin as in CreateRequest.Origins, its device or
	// a mount point it had. Empty: the only one of the set.
	Volume string
	// Direct reads past the page cache (O_DIRECT), which a whole image would fill.
	Direct bool
}

// Reader reads the image of one volume. As long as it is open the set cannot be
// removed. Its methods may be called from several goroutines.
type Reader struct {
	s      *session
	set    string // uuid
	volume Volume
	size   int64
	direct bool

	mu   sync.RWMutex // held for reading while file is used
	file *ioctl.File  // nil: closed
}

var (
	_ io.ReaderAt  = (*Reader)(nil)
	_ io.Closer    = (*Reader)(nil)
	_ syscall.Conn = (*Reader)(nil)
)

// OpenVolume opens the image of one volume for reading. It waits for no other
// operation, so that ctx is only looked at before it begins.
//
// Errors: ErrNotFound for a set or volume that does not exist, ErrUsage if the set
// has several volumes and none is named, a *StateError for an image that is lost.
func (m *Manager) OpenVolume(ctx context.Context, request OpenRequest) (_ *Reader, err error) {
	s, err := m.open("read", request.Set)
	if err != nil {
		return nil, err
	}
	r := &Reader{s: s, direct: request.Direct}
	if err = ctx.Err(); err == nil {
		err = r.open(request.Volume)
	}
	if err != nil {
		s.close()
		return nil, s.fail(err)
	}
	return r, nil
}

func (r *Reader) open(volume string) error {
	set, err := r.s.sets.show(r.s.set)
	if err != nil {
		return err
	}
	v, err := set.pick(volume)
	if err != nil {
		return err
	}
	if !v.readable() {
		return unusableError(v)
	}
	flags := unix.O_RDONLY
	if r.direct {
		flags |= unix.O_DIRECT
	}
	node, err := v.imageNode()
	if err != nil {
		return err
	}
	f, err := r.s.kernel.Open(node, flags, 0)
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

// pick finds a volume by its name or its origin.
func (s *Set) pick(volume string) (Volume, error) {
	if volume == "" && len(s.Volumes) == 1 {
		return s.Volumes[0], nil
	}
	if volume == "" {
		return Volume{}, plan.Refuse(plan.Usage, "", "name one of them", "set %s has %d volumes", s.Name, len(s.Volumes))
	}
	for _, called := range []func(Volume) bool{
		func(v Volume) bool { return v.Name == volume },
		func(v Volume) bool { return v.asked == volume || v.Origin == volume },
		func(v Volume) bool { return slices.Contains(v.Mountpoints, volume) },
	} {
		if i := slices.IndexFunc(s.Volumes, called); i >= 0 {
			return s.Volumes[i], nil
		}
	}
	return Volume{}, plan.Refuse(plan.NotFound, "", "dmsnap show "+s.Name+" lists its volumes", "set %s has no volume %s", s.Name, volume)
}

// Volume is the volume as it was when it was opened.
func (r *Reader) Volume() Volume { return r.volume }

// Size is the size of the image in bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt; offsets are bytes. It blocks as long as the
// disks need. A read that fails because the image was lost says so with a
// *StateError, not with EIO. A read that reaches the end of the image does a
// Check: a read to the end without an error has read what the origin was. After Close
// it fails with os.ErrClosed.
//
// Direct reads of whole pages into memory that begins at a page are the fastest;
// others are copied.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, r.s.fail(plan.Refuse(plan.Usage, "", "", "an offset of %d is negative", off))
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.file == nil {
		return 0, r.closed()
	}
	n, err := r.readAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) || off+int64(n) >= r.size {
		if lost := r.check(); lost != nil {
			return n, lost
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		return n, err // EOF bare, as readers compare it
	}
	return n, r.s.fail(err)
}

func (r *Reader) closed() error { return r.s.fail(os.ErrClosed) }

// Check tells whether the image is still what its origin held at the cut, and so
// whether all that was read so far is: nil, or a *StateError. An image can be
// lost without a read failing, when another program reloads the origin's table. It
// takes no lock and does not wait.
func (r *Reader) Check() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.file == nil {
		return r.closed()
	}
	return r.check()
}

func (r *Reader) check() error {
	v, err := r.current()
	if err == nil && !v.readable() {
		err = unusableError(v)
	}
	return r.s.fail(err)
}

// current is the volume as it is.
func (r *Reader) current() (Volume, error) {
	sets, err := r.s.sets.list()
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

// Close closes the image when the reads under way have ended. It checks nothing. A
// second one fails with os.ErrClosed.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return r.closed()
	}
	err := r.file.Close()
	r.file = nil
	r.s.close()
	return r.s.fail(err)
}

// SyscallConn gives access to the descriptor, for what ReadAt does not do: fadvise,
// splice, io_uring. What is read by it is to be judged by Check.
func (r *Reader) SyscallConn() (syscall.RawConn, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.file == nil {
		return nil, r.closed()
	}
	return rawReader{r}, nil
}

// rawReader is a descriptor that is always ready: Read and Write call once.
type rawReader struct{ r *Reader }

// Control calls f with the descriptor, which stays open meanwhile.
func (c rawReader) Control(f func(fd uintptr)) error {
	c.r.mu.RLock()
	defer c.r.mu.RUnlock()
	if c.r.file == nil {
		return c.r.closed()
	}
	f(uintptr(c.r.file.Fd()))
	return nil
}

func (c rawReader) Read(f func(fd uintptr) bool) error {
	return c.Control(func(fd uintptr) {
		for !f(fd) {
		}
	})
}

func (c rawReader) Write(func(fd uintptr) bool) error {
	return c.r.s.fail(plan.Refuse(plan.Usage, c.r.volume.Device, "", "a reader does not write"))
}
