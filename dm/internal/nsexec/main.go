package nsexec

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Main is the whole life of a supervisor; it returns its exit status. Its argument
// is the number of the descriptor on which its owner speaks.
func Main(args []string) int {
	// The command is to die with us, which the kernel ties to this thread.
	runtime.LockOSThread()
	conn, err := ownerOf(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "started by dmsnap exec; not for users:", err)
		return 1
	}
	// Signals are the command's, to which the owner sends them.
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE} {
		if !signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	s := supervisor{in: gob.NewDecoder(conn), out: gob.NewEncoder(conn)}
	if err := s.in.Decode(&s.program); err != nil {
		return 0 // the owner gave up
	}
	if err := s.start(); err != nil {
		_ = s.out.Encode(Report{Layout: s.layout, Err: err.Error(), Status: statusOf(err)}) // nobody else to tell
		return 1
	}
	if err := s.out.Encode(Report{Layout: s.layout, PID: s.pid}); err != nil {
		s.family.end(unix.SIGKILL)
	}
	go s.obey()
	s.wait()
	return 0
}

// ownerOf checks that a descriptor is a socket whose other end is our user's.
func ownerOf(args []string) (*os.File, error) {
	if len(args) != 1 {
		return nil, errors.New("no descriptor")
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return nil, err
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, os.NewSyscallError("peer", err)
	}
	if int(peer.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("its owner is user %d", peer.Uid)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "owner"), nil
}

// supervisor is the process's side.
type supervisor struct {
	in       *gob.Decoder
	out      *gob.Encoder
	program  Program
	layout   Layout
	pid      int
	terminal terminal
	family   family
}

// start brings the command to life.
func (s *supervisor) start() (err error) {
	if s.program.Version != wireVersion {
		return fmt.Errorf("the supervisor is another version of dmsnap (%d, want %d)", wireVersion, s.program.Version)
	}
	// Whoever loses its parent becomes our child, so that nobody escapes us.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("subreaper", err)
	}
	if s.layout, err = lay(ioctl.Host(), s.program); err != nil {
		return err
	}
	if err := os.Chdir(s.program.Dir); err != nil {
		return fmt.Errorf("the working directory: %w", err)
	}
	bin, err := s.find()
	if err != nil {
		return err
	}
	s.terminal = openTerminal()
	attr := &syscall.ProcAttr{
		Env: s.program.Env, Files: inherited(-1),
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL, Foreground: s.terminal.ours, Ctty: 0},
	}
	if s.pid, err = syscall.ForkExec(bin, s.program.Command, attr); err != nil {
		return &StartError{startStatus(err), fmt.Sprintf("%s: %v", s.program.Command[0], err)}
	}
	return nil
}

// find looks the command up as the command will see it.
func (s *supervisor) find() (string, error) {
	for _, v := range s.program.Env {
		if len(v) > 5 && v[:5] == "PATH=" {
			if err := os.Setenv("PATH", v[5:]); err != nil {
				return "", err
			}
		}
	}
	bin, err := exec.LookPath(s.program.Command[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", &StartError{startStatus(err), err.Error()}
	}
	return bin, nil
}

func startStatus(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return StatusNotFound
	}
	return StatusNotExecutable
}

func statusOf(err error) int {
	if e, ok := errors.AsType[*StartError](err); ok {
		return e.Status
	}
	return StatusFailed
}

// obey forwards what the owner sends. When the owner is gone, so is the reason for
// all that the command does: it ends, with all that came of it.
func (s *supervisor) obey() {
	for {
		var o order
		if err := s.in.Decode(&o); err != nil {
			s.family.end(unix.SIGKILL)
			return
		}
		if o.Kill {
			s.family.endWithin(s.program.KillAfter)
		}
		if o.Signal != 0 {
			_ = unix.Kill(-s.pid, unix.Signal(o.Signal)) // the group may be gone
		}
	}
}

// wait reaps until nobody is left. What the command leaves running when it ends
// would hold the images: it is ended too.
func (s *supervisor) wait() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR:
		case err != nil: // ECHILD
			s.terminal.giveBack()
			return
		case ws.Stopped():
			if pid == s.pid && s.terminal.ours && ws.StopSignal() != unix.SIGSTOP {
				_ = unix.Kill(-pid, unix.SIGCONT) // no shell could, since it does not know the command
			}
		case pid == s.pid:
			s.terminal.giveBack()
			_ = s.out.Encode(exitOf(ws)) // an owner that is gone needs none
			s.family.end(unix.SIGTERM)
			s.family.endWithin(s.program.KillAfter)
		default:
			s.family.again()
		}
	}
}

func exitOf(ws unix.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Status: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	return Exit{Status: ws.ExitStatus()}
}
