package guard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// fdSocket is the descriptor a guard inherits, from its owner as from a service
// manager (SD_LISTEN_FDS_START): the connection to its owner.
const fdSocket = 3

// Main is the whole life of a guard process. It returns its exit status.
// Whoever starts guards with its own binary calls it first thing in main when
// the arguments say so.
func Main() int {
	if err := trustedPeer(fdSocket); err != nil {
		fmt.Fprintln(os.Stderr, "started by dmsnap, or by a service manager with a connection; not for users:", err)
		return 1
	}
	g, err := arm(ioctl.Host(), fdSocket)
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) { // the owner gave up before it had anything to guard
		return 0
	}
	if err != nil {
		_, _ = rawSocket(fdSocket).Write(frame([]byte(err.Error()))) // the only way to report it
		return 1
	}
	if _, err := rawSocket(fdSocket).Write(frame([]byte(ready))); err != nil {
		return 0
	}
	// From here on nothing is opened, read, written or logged but the socket.
	g.superviseWindow()
	g.closeAll()
	return 0
}

// guard is the process's side.
type process struct {
	k        *ioctl.Kernel
	socket   int
	mem      *ioctl.Shared
	files    []*ioctl.File // what the owner passed on
	deadline time.Duration
	fronts   []*frontCalls
	locks    []string // that the owner has
	thaws    *thaws
	expedite *Expedite
	orphaned bool // the owner is gone
}

type frontCalls struct {
	ctl                         *ioctl.Control
	id                          ioctl.ID
	status, next, clear, resume *ioctl.Call
	waits                       []byte       // in the inactive slot, by the owner
	base                        *baseCalls   // nil if it may always run
	displaced                   []ioctl.Spec // another program's table, to be put back
	flags                       ioctl.Flags  // of that
}

// baseCalls is the base of a handover.
type baseCalls struct {
	dev                   ioctl.DevNo
	deps, suspend, resume *ioctl.Call // deps of the front
}

// arm gets everything ready that a window may need.
func arm(k *ioctl.Kernel, socket int) (*process, error) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	runtime.LockOSThread()
	if err := unix.SetNonblock(socket, false); err != nil {
		return nil, os.NewSyscallError("guard's socket", err)
	}
	if err := hide(); err != nil {
		return nil, err
	}
	debug.SetGCPercent(-1)
	if err := ioctl.LockMemory(); err != nil {
		return nil, err
	}
	// All this while the owner prepares its window; it waits for what follows.
	p, files, err := receiveProgram(k, socket)
	if err != nil {
		return nil, err
	}
	mem, err := ioctl.MapShared(os.NewFile(uintptr(files[0].Fd()), "shared memory"))
	if err != nil {
		return nil, err
	}
	g := &process{k: k, socket: socket, mem: mem, files: files[1:]}
	return g, g.encode(p)
}

// hide keeps the guard from what ends processes by their name, the executable's
// until now, and from the out-of-memory killer.
func hide() error {
	return errors.Join(
		os.WriteFile("/proc/self/comm", []byte(processName), 0),
		os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0),
	)
}

// encode makes the calls. The descriptors are the very mounts that the owner
// checked, whatever is at their paths now, and the switch with the owner's lock on
// it, which lasts as long as one of the two processes.
func (g *process) encode(p program) error {
	g.deadline, g.locks = p.Deadline, p.Locks
	ctl, err := g.k.OpenControl()
	if err != nil {
		return err
	}
	for _, front := range p.Fronts {
		f, err := encodeFront(ctl, front)
		if err != nil {
			return err
		}
		g.fronts = append(g.fronts, f)
	}
	var calls []*ioctl.Call
	for _, f := range g.files[:p.Mounts] {
		calls = append(calls, f.PrepareThaw())
	}
	g.thaws = newThaws(g.mem, calls)
	if p.ExpediteBefore != nil {
		g.expedite = &Expedite{k: g.k, file: g.files[p.Mounts], before: p.ExpediteBefore, on: true}
	}
	return nil
}

// foreignRoom is for the table of another program.
const foreignRoom = 64 << 10

func encodeFront(ctl *ioctl.Control, front Front) (*frontCalls, error) {
	id := ioctl.ID{Dev: front.Dev}
	f := &frontCalls{ctl: ctl, id: id, waits: front.Waits}
	var errs [5]error
	f.next, errs[4] = ctl.PrepareTable(id, ioctl.QueryInactive, foreignRoom+2*len(front.Waits))
	f.status, errs[0] = ctl.PrepareStatus(id)
	f.clear, errs[1] = ctl.PrepareClear(id)
	f.resume, errs[2] = ctl.PrepareResume(id, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.PrimarySource))
	if front.Base != (ioctl.DevNo{}) {
		f.base, errs[3] = encodeBase(ctl, id, front.Base)
	}
	return f, errors.Join(errs[:]...)
}

func encodeBase(ctl *ioctl.Control, front ioctl.ID, dev ioctl.DevNo) (*baseCalls, error) {
	base := ioctl.ID{Dev: dev}
	b := &baseCalls{dev: dev}
	var errs [3]error
	b.deps, errs[0] = ctl.PrepareDeps(front)
	b.suspend, errs[1] = ctl.PrepareSuspend(base, ioctl.SkipLockFS)
	b.resume, errs[2] = ctl.PrepareResume(base, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.Hidden))
	return b, errors.Join(errs[:]...)
}

// closeAll closes the mounts, then the socket: the owner waits for that, and may
// unmount then.
func (g *process) closeAll() {
	for _, f := range g.files {
		_ = f.Close() // nothing is left to report it to
	}
	_ = unix.Close(g.socket)
}
