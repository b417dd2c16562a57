package nsexec

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// processName is what lists of processes show: what ends all processes of the
// owner's name must not find this one.
const processName = "exec-supervisor"

// Supervisor is the owner's side. Its command runs until Done gives its end.
type Supervisor struct {
	report Report
	conn   net.Conn
	in     *gob.Decoder
	out    *gob.Encoder
	mu     sync.Mutex
	proc   *os.Process
	done   chan error
	exit   Exit
}

// Start starts a supervisor with a command line whose program calls [Main], and
// returns when its command runs. A command that could not be run gives a
// *StartError. The standard streams and whatever else our own parent left open for
// us are the command's.
func Start(command []string, p Program) (*Supervisor, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p.Version = wireVersion
	s := &Supervisor{conn: ours, in: gob.NewDecoder(ours), out: gob.NewEncoder(ours), done: make(chan error, 1)}
	files := inherited(int(theirs.Fd()))
	argv := append([]string{processName}, command[1:]...)
	pid, err := syscall.ForkExec(command[0], append(argv, strconv.Itoa(len(files)-1)), &syscall.ProcAttr{
		Env: os.Environ(), Files: files, Dir: "/",
		// A group of its own: what a terminal sends is the command's.
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Setpgid: true},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the supervisor %s: %w", command[0], err), ours.Close())
	}
	if s.proc, err = os.FindProcess(pid); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	err = s.out.Encode(p)
	if err == nil {
		err = s.in.Decode(&s.report)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrSupervisor, err)
	case s.report.Err != "":
		err = &StartError{s.report.Status, s.report.Err}
	}
	if err != nil {
		_, werr := s.proc.Wait()
		return nil, errors.Join(err, werr, ours.Close())
	}
	go s.listen()
	return s, nil
}

// inherited are the descriptors that our parent left open for us, each under its
// number, and one of ours under the first number after them that is free. -1 is
// none.
func inherited(ours int) []uintptr {
	const standard = 3
	files := []uintptr{0, 1, 2}
	for fd := standard; ; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			break
		}
		files = append(files, uintptr(fd))
	}
	if ours >= 0 {
		files = append(files, uintptr(ours))
	}
	return files
}

func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	file, theirs := os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "supervisor")
	ours, err = net.FileConn(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// listen waits for the end of the command, and then of the supervisor: all that the
// command left running has ended by then, and the mounts are gone.
func (s *Supervisor) listen() {
	err := s.in.Decode(&s.exit)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrSupervisor, err)
	}
	_, werr := s.proc.Wait()
	s.done <- errors.Join(err, werr, s.conn.Close())
}

// Layout is what the command sees.
func (s *Supervisor) Layout() Layout { return s.report.Layout }

// Done gives one error or nil when the command and all that it started have ended.
func (s *Supervisor) Done() <-chan error { return s.done }

// Exit is how the command ended, once Done has given nil.
func (s *Supervisor) Exit() Exit { return s.exit }

// Signal forwards a signal to the command's group.
func (s *Supervisor) Signal(sig syscall.Signal) { s.send(order{Signal: int(sig)}) }

// End asks the command to end, and has it killed if it takes too long.
func (s *Supervisor) End(sig syscall.Signal) { s.send(order{Signal: int(sig), Kill: true}) }

// send: a supervisor that is gone is told of by Done.
func (s *Supervisor) send(o order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.out.Encode(o)
}
