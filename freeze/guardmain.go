package freeze

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

const ready = "ready"

// Descriptors a guard inherits.
const (
	fdPipe = 3 + iota
	fdReply
	fdShared
)

// GuardMain is the whole life of a guard process. It returns its exit status.
// Whoever starts guards with its own binary calls it first thing in main when
// the arguments say so.
func GuardMain() int {
	reply := os.NewFile(fdReply, "reply")
	g, err := armGuard(ioctl.Host())
	if err == io.EOF { // the owner gave up before it had anything to guard
		return 0
	}
	if err != nil {
		fmt.Fprint(reply, err)
		return 1
	}
	fmt.Fprint(reply, ready)
	reply.Close()
	// From here on nothing is opened, read, written or logged but the pipe.
	return g.watch()
}

// guard is the child's side.
type guard struct {
	k        *ioctl.Kernel
	pipe     *os.File
	mem      *ioctl.Shared
	deadline time.Duration
	fronts   []guardedFront
	thaws    []*ioctl.Call
	expedite *Expedite
	gone     atomic.Bool // the owner closed the pipe: it is dead
	seen     atomic.Bool // the owner said that it saw us take over, or that it is done
}

type guardedFront struct {
	status, clear, resume *ioctl.Call
	base                  *guardedBase // nil if it may always run
}

// guardedBase is the base of a handover.
type guardedBase struct {
	dev                   ioctl.DevNo
	deps, suspend, resume *ioctl.Call // deps of the front
}

func armGuard(k *ioctl.Kernel) (*guard, error) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	runtime.LockOSThread()
	g := &guard{k: k, pipe: os.NewFile(fdPipe, "pipe")}
	var err error
	if g.mem, err = ioctl.MapShared(os.NewFile(fdShared, "shared memory")); err != nil {
		return nil, err
	}
	// The out-of-memory killer must find somebody else.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		return nil, err
	}
	debug.SetGCPercent(-1)
	if _, err := ioctl.LockMemory(); err != nil {
		return nil, err
	}
	// All this while the owner prepares its window; it waits for what follows.
	p, err := readProgram(g.pipe)
	if err != nil {
		return nil, err
	}
	g.deadline = p.Deadline
	return g, g.encode(p)
}

func readProgram(r io.Reader) (p program, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return p, err
	}
	b := make([]byte, binary.LittleEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return p, err
	}
	return p, json.Unmarshal(b, &p)
}

func (g *guard) encode(p program) error {
	ctl, err := g.k.OpenControl()
	if err != nil {
		return err
	}
	for _, front := range p.Fronts {
		f, err := encodeFront(ctl, Front{string(front.Name), string(front.Base)})
		if err != nil {
			return err
		}
		g.fronts = append(g.fronts, f)
	}
	for _, fd := range p.FDs {
		// The very mount that the owner checked, whatever is at its path now.
		f, err := g.k.Open(fmt.Sprintf("/proc/%d/fd/%d", p.PID, fd), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		g.thaws = append(g.thaws, f.PrepareThaw())
	}
	if p.ExpediteFD > 0 {
		f, err := g.k.Open(fmt.Sprintf("/proc/%d/fd/%d", p.PID, p.ExpediteFD), unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		g.expedite = &Expedite{file: f, before: p.ExpediteBefore}
	}
	return nil
}

func encodeFront(ctl *ioctl.Control, front Front) (f guardedFront, err error) {
	id := ioctl.ID{Name: front.Name}
	var errs [4]error
	f.status, errs[0] = ctl.PrepareStatus(id)
	f.clear, errs[1] = ctl.PrepareClear(id)
	f.resume, errs[2] = ctl.PrepareResume(id, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.PrimarySource))
	if front.Base != "" {
		f.base, errs[3] = encodeBase(ctl, id, ioctl.ID{Name: front.Base})
	}
	return f, errors.Join(errs[:]...)
}

func encodeBase(ctl *ioctl.Control, front, base ioctl.ID) (*guardedBase, error) {
	info, err := ctl.Status(base)
	if err != nil {
		return nil, err
	}
	b := &guardedBase{dev: info.Dev}
	var errs [3]error
	b.deps, errs[0] = ctl.PrepareDeps(front)
	b.suspend, errs[1] = ctl.PrepareSuspend(base, ioctl.SkipLockFS)
	b.resume, errs[2] = ctl.PrepareResume(base, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.Hidden))
	return b, errors.Join(errs[:]...)
}

// watch waits for the window, then for its end.
func (g *guard) watch() int {
	if g.listen(-1); g.gone.Load() || g.seen.Load() {
		return 0 // the window never began
	}
	opened := time.Now()
	for !g.gone.Load() && !g.seen.Load() {
		left := g.deadline - time.Since(opened)
		if left <= 0 {
			break
		}
		g.listen(left)
	}
	if g.seen.Load() {
		return 0
	}
	g.takeOver()
	return 0
}

// listen waits for a message for a time, for ever if it is negative.
func (g *guard) listen(limit time.Duration) {
	fds := []unix.PollFd{{Fd: fdPipe, Events: unix.POLLIN}}
	ms := -1
	if limit >= 0 {
		ms = int(limit/time.Millisecond) + 1
	}
	if n, err := unix.Poll(fds, ms); err != nil || n == 0 {
		return
	}
	var b [1]byte
	n, err := unix.Read(fdPipe, b[:])
	switch {
	case err == nil && n == 0:
		g.gone.Store(true)
	case n == 1 && b[0] == msgClose:
		g.seen.Store(true)
	}
}

// again is the pause between two looks at an owner that lives but has not
// answered: it may be stopped, with one call on its way.
const again = 20 * time.Millisecond

// takeOver lets all writers go. Fronts and filesystems have a thread each: a
// thaw blocks if the owner's last call suspends the front beneath, and only
// another round of the fronts' thread ends that.
func (g *guard) takeOver() {
	g.mem.Store(byteLost, 1)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		for !g.thawAll() {
			time.Sleep(again)
		}
		close(done)
	}()
	for {
		released := g.releaseAll()
		_ = g.expedite.Off() // nobody is left to be told
		if g.gone.Load() || g.seen.Load() {
			select {
			case <-done:
				if released {
					return
				}
			case <-time.After(again):
			}
			continue
		}
		g.listen(again)
	}
}

// releaseAll makes suspended fronts run again with the table they have, and
// tells whether all do. What waits in an inactive slot goes first: a resume would
// swap it in.
func (g *guard) releaseAll() bool {
	all := true
	for i := len(g.fronts) - 1; i >= 0; i-- {
		f := g.fronts[i]
		if f.status.Do() != nil {
			continue // the device is gone
		}
		state := f.status.State()
		if state.Inactive {
			_ = f.clear.Do() // a resume that swaps is better than none
		}
		if f.base != nil {
			f.base.follow()
		}
		if state.Suspended && f.resume.Do() != nil {
			all = false // tried again in the next round
		}
	}
	return all
}

// follow makes a base run if the front stands on it, and stand still if the front
// has its own table. Nothing is left in the front's inactive slot that could turn
// that round. A failure shows when the front is resumed, or in the next round.
func (b *guardedBase) follow() {
	if b.deps.Do() != nil {
		return
	}
	if slices.Contains(b.deps.Deps(), b.dev) {
		_ = b.resume.Do()
	} else {
		_ = b.suspend.Do()
	}
}

// thawAll tells whether nothing of ours is left to thaw. While the owner lives a
// freeze that it started may still come.
func (g *guard) thawAll() bool {
	clean := true
	for i, thaw := range g.thaws {
		state := g.mem.Load(byteFirst + i)
		if state == freezeNone {
			continue
		}
		err := thaw.Do()
		thawed := err == nil || errors.Is(err, unix.EINVAL)
		if thawed && (state == freezeHeld || g.gone.Load()) {
			g.mem.Store(byteFirst+i, freezeNone)
		} else {
			clean = false
		}
	}
	return clean
}
