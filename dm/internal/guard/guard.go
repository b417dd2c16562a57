package guard

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
	command []string
	conn    *net.UnixConn // its closing is our death
	cmd     *exec.Cmd     // nil: a process that a service made for us
	mem     *ioctl.Shared
	// patience is how long a service may take until its process is ready, and how long
	// that may take to end.
	patience time.Duration
}

// Spec is what a guard has to know before the window.
type Spec struct {
	Deadline time.Duration
	Fronts   []Front   // in the order of their suspends
	Locks    []string  // the keys that the owner has locked: loads into the fronts need them
	Mounts   []int     // descriptors of what is frozen, in the order of their freezes
	Expedite *Expedite // put back when the owner cannot; may be nil
}

// Front is a device to make run again. It goes by its number: a name may be
// another device's by then. Base is set if its own table and the base's must not
// both run: the base is suspended before the front runs on its own table, and runs
// before the front runs on it.
type Front struct {
	Dev, Base ioctl.DevNo
	// Waits is what its owner left in the inactive slot, as the kernel writes it.
	// Something else there is another program's: it goes while the front is made to
	// run, and is put back then.
	Waits []byte
}

// Kinds of guards.
const (
	Service = "service" // outlives the end of our control group
	Process = "process" // a child
)

// processName is what lists of processes show. What ends all processes of our name
// must not find this one.
const processName = "window-guard"

// servicePatience is that of a guard.
const servicePatience = 10 * time.Second

// Bytes of the shared page.
const (
	byteLost  = 0 // set by the guard: it took over
	byteFirst = 1 // of the filesystems, by index
	// Values of a filesystem's byte.
	freezeNone    = 0
	freezeStarted = 1 // the call may have been made
	freezeHeld    = 2
)

// ErrStart: there is no guard, so that nothing may be held. It comes wrapped
// with the reason, which may be a text of the guard's.
var ErrStart = errors.New("the guard process could not start")

// Start starts a guard and does not wait for it; [Guard.Prepare] does. If
// a service listens on the socket it makes the process, else the command
// does; it must call [Main]. The socket may be empty.
func Start(command []string, socket string) (*Guard, error) {
	g := &Guard{command: command, patience: servicePatience}
	var err error
	if g.mem, err = ioctl.NewShared(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	if socket != "" && g.dial(socket) == nil {
		return g, nil
	}
	if err := g.spawn(); err != nil {
		return nil, errors.Join(err, g.Stop())
	}
	return g, nil
}

// Kind tells who made the process.
func (g *Guard) Kind() string {
	if g.cmd == nil {
		return Service
	}
	return Process
}

// dial asks a service. Where there is none the command serves as well, so that
// why is nobody's concern.
func (g *Guard) dial(socket string) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var untrusted error
		err = raw.Control(func(fd uintptr) { untrusted = trustedPeer(int(fd)) })
		err = errors.Join(err, untrusted)
	}
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	g.conn = conn
	return nil
}

// spawn makes a child.
func (g *Guard) spawn() error {
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer theirs.Close()
	cmd := exec.Command(g.command[0], g.command[1:]...)
	cmd.Args[0] = processName
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}                  // fdSocket
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's signals are not for it
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrStart, err), ours.Close())
	}
	g.conn, g.cmd = ours, cmd
	return nil
}

func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	file, theirs := os.NewFile(uintptr(fds[0]), "guard"), os.NewFile(uintptr(fds[1]), "guard")
	conn, err := net.FileConn(file)
	if err = errors.Join(err, file.Close()); err != nil {
		if conn != nil {
			err = errors.Join(err, conn.Close())
		}
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// Prepare tells the guard what the window will suspend and freeze, and returns when the
// guard is ready: memory locked, calls encoded. If the process of a service does not get
// ready, a child takes its place.
func (g *Guard) Prepare(w Spec) error {
	if g.cmd == nil {
		err := g.conn.SetDeadline(time.Now().Add(g.patience))
		if err == nil {
			err = g.instruct(w)
		}
		if err == nil {
			return g.conn.SetDeadline(time.Time{})
		}
		// That process sees the end of the stream before the window, and ends.
		if err := errors.Join(g.hangUp(), g.spawn()); err != nil {
			return err
		}
	}
	return g.instruct(w)
}

func (g *Guard) instruct(w Spec) error {
	p := program{Version: wireVersion, Deadline: w.Deadline, Fronts: w.Fronts, Locks: w.Locks, Mounts: len(w.Mounts)}
	fds := []int{int(g.mem.File().Fd())}
	fds = append(fds, w.Mounts...)
	if w.Expedite != nil {
		p.ExpediteBefore = w.Expedite.before
		fds = append(fds, w.Expedite.file.Fd())
	}
	err := sendProgram(g.conn, p, fds)
	// A guard that ended instead of listening said why.
	said, rerr := readFrame(g.conn)
	if string(said) == ready && err == nil {
		return nil
	}
	if len(said) == 0 {
		err = errors.Join(err, rerr)
	}
	return fmt.Errorf("%w: %w", ErrStart, errors.Join(err, answer(said)))
}

// answer is what a guard said instead of being ready, as an error.
func answer(said []byte) error {
	if len(said) == 0 {
		return nil
	}
	return errors.New(string(said))
}

// Open begins the window: the guard's clock runs.
func (g *Guard) Open() error { return g.send(msgOpen) }

// Close ends the window, or tells a guard that took over that this was seen.
func (g *Guard) Close() error { return g.send(msgClose) }

func (g *Guard) send(message byte) error {
	_, err := g.conn.Write([]byte{message})
	return err
}

// Lost tells whether the guard took over. It makes no system call.
func (g *Guard) Lost() bool { return g.mem.Load(byteLost) != 0 }

// Freezing notes that filesystem i of the Spec is about to be frozen.
func (g *Guard) Freezing(i int) { g.mem.Store(byteFirst+i, freezeStarted) }

// Froze notes whether filesystem i is frozen now.
func (g *Guard) Froze(i int, frozen bool) {
	v := byte(freezeNone)
	if frozen {
		v = freezeHeld
	}
	g.mem.Store(byteFirst+i, v)
}

// Stop ends the guard process and waits for its end: it has the mounts open. It is
// called after the window.
func (g *Guard) Stop() error {
	var err error
	switch {
	case g.conn == nil: // never started
	case g.cmd == nil:
		err = errors.Join(g.leave(), g.hangUp())
	default:
		err = errors.Join(g.hangUp(), g.cmd.Wait())
	}
	return errors.Join(err, g.mem.Close())
}

// leave waits until a service's process has closed our descriptors.
func (g *Guard) leave() error {
	err := errors.Join(g.conn.CloseWrite(), g.conn.SetReadDeadline(time.Now().Add(g.patience)))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, g.conn)
	if errors.Is(err, unix.ECONNRESET) { // it ended with something unread
		return nil
	}
	return err
}

// Abandon leaves the window to the guard, as our death would: something in it
// could not be taken back, and the guard keeps trying.
func (g *Guard) Abandon() error {
	if g.cmd != nil {
		cmd := g.cmd
		go func() { _ = cmd.Wait() }() // however long it takes: a program that lives on keeps no zombie
	}
	return errors.Join(g.hangUp(), g.mem.Close())
}

// hangUp closes the connection. A second time is harmless.
func (g *Guard) hangUp() error {
	if g.conn == nil {
		return nil
	}
	err := g.conn.Close()
	g.conn = nil
	return err
}
