package freeze

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Guard is a second process that ends a window when the first one dies, stands
// still or takes too long: it makes suspended fronts run again with the table
// they have, then thaws what was frozen. It is started before the window and
// needs nothing then but its own locked memory and descriptors.
//
// Both processes see one page of memory. The owner of the window writes into it
// what it is about to freeze; the guard writes when it takes over. From then on
// the owner does no further step, and the guard repeats its work until the owner
// says that it has seen it, or is gone: the one call that the owner was in may
// still come through.
type Guard struct {
	cmd   *exec.Cmd
	pipe  *os.File // our end; its closing is our death
	reply *os.File
	mem   *ioctl.Shared
}

// Watch is what a guard is told beforehand.
type Watch struct {
	Deadline time.Duration
	Fronts   []Front // in the order of their suspends
	Handles  []*Handle
	Expedite *Expedite // put back when the owner cannot; may be nil
}

// Front is a device to make run again, by its dm name. Base is set if its own
// table and the base's must not both run: it is suspended before the front runs
// on its own table, and runs before the front runs on it.
type Front struct{ Name, Base string }

// program is Watch on its way through the pipe.
type program struct {
	Deadline time.Duration `json:"deadline"`
	Fronts   []sentFront   `json:"fronts"`
	PID      int           `json:"pid"`
	FDs      []int         `json:"fds"`

	ExpediteFD     int    `json:"expedite_fd"`
	ExpediteBefore []byte `json:"expedite_before"`
}

// sentFront is a Front as bytes: a name need not be text.
type sentFront struct {
	Name []byte `json:"name"`
	Base []byte `json:"base"`
}

// Bytes of the shared page.
const (
	byteLost  = 0 // set by the guard: it took over
	byteFirst = 1 // of the filesystems, by index
	// Values of a filesystem's byte.
	freezeNone    = 0
	freezeStarted = 1 // the call may have been made
	freezeHeld    = 2
)

// Messages on the pipe, one byte each.
const (
	msgOpen  = 'O' // the window begins
	msgClose = 'C' // it is over, or the guard's intervention was seen
)

// errGuard is wrapped with what a guard said instead of being ready.
var errGuard = errors.New("the guard process could not start")

// StartGuard starts argv as a guard and does not wait for it; [Guard.Watch] does.
// The program named must call [GuardMain].
func StartGuard(argv []string) (g *Guard, err error) {
	g = &Guard{}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Release())
		}
	}()
	if g.mem, err = ioctl.NewShared(); err != nil {
		return nil, err
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	g.pipe = ours
	answers, answer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	g.reply = answers
	g.cmd = exec.Command(argv[0], argv[1:]...)
	g.cmd.Args[0] = os.Args[0] // argv[0] may be /proc/self/exe, which says nothing in a process list
	g.cmd.Dir = "/"
	g.cmd.ExtraFiles = []*os.File{theirs, answer, g.mem.File()}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's signals are not for it
	if err := g.cmd.Start(); err != nil {
		g.cmd = nil
		return nil, err
	}
	answer.Close()
	return g, nil
}

// Watch tells the guard what the window will hold, and returns when it is ready:
// memory locked, descriptors open, calls encoded.
func (g *Guard) Watch(w Watch) error {
	p := program{Deadline: w.Deadline, PID: os.Getpid()}
	for _, f := range w.Fronts {
		p.Fronts = append(p.Fronts, sentFront{[]byte(f.Name), []byte(f.Base)})
	}
	for _, h := range w.Handles {
		p.FDs = append(p.FDs, h.Fd())
	}
	if w.Expedite != nil {
		p.ExpediteFD, p.ExpediteBefore = w.Expedite.file.Fd(), w.Expedite.before
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := g.pipe.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return err
	}
	said, err := io.ReadAll(g.reply)
	if err != nil || string(said) != ready {
		return fmt.Errorf("%w: %s", errors.Join(errGuard, err), said)
	}
	return nil
}

// Open begins the window: the guard's clock runs.
func (g *Guard) Open() error {
	_, err := g.pipe.Write([]byte{msgOpen})
	return err
}

// Lost tells whether the guard took over. It makes no system call.
func (g *Guard) Lost() bool { return g.mem.Load(byteLost) != 0 }

// Freezing notes that filesystem i of the watch is about to be frozen; Froze,
// whether it was; Thawed, that it is not any more.
func (g *Guard) Freezing(i int) { g.mem.Store(byteFirst+i, freezeStarted) }

// Froze notes the result of a freeze.
func (g *Guard) Froze(i int, held bool) {
	v := byte(freezeNone)
	if held {
		v = freezeHeld
	}
	g.mem.Store(byteFirst+i, v)
}

// Close ends the window, or tells a guard that took over that this was seen.
func (g *Guard) Close() error {
	_, err := g.pipe.Write([]byte{msgClose})
	return err
}

// Release ends the guard and waits for it. To be called after the window.
func (g *Guard) Release() error {
	err := g.hangUp()
	if g.cmd != nil {
		err = errors.Join(err, g.cmd.Wait())
	}
	return errors.Join(err, g.unmap())
}

// Abandon leaves the window to the guard, as our death would: something in it
// could not be taken back, and the guard goes on trying. It is not waited for.
func (g *Guard) Abandon() error {
	return errors.Join(g.hangUp(), g.cmd.Process.Release(), g.unmap())
}

func (g *Guard) hangUp() error {
	var errs []error
	for _, f := range []*os.File{g.pipe, g.reply} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (g *Guard) unmap() error {
	if g.mem == nil {
		return nil
	}
	return g.mem.Close()
}
