package guard

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
	"github.com/dmsnap/dmsnap/ioctl"
)

// What listen returns beside the messages.
const (
	heardNothing = 0
	heardEnd     = 'E' // the owner is gone
)

// superviseWindow waits until the window opens, then until it closes. If the owner dies
// in it, or the deadline passes, the guard takes over.
func (g *process) superviseWindow() {
	for message := byte(heardNothing); message != msgOpen; {
		switch message = g.listen(-1); message {
		case heardEnd: // the window never began; its note is all there is
			_ = g.expedite.Off()
			g.expedite.forget()
			return
		case msgClose:
			return
		}
	}
	opened := time.Now()
	for {
		left := g.deadline - time.Since(opened)
		if left <= 0 {
			break
		}
		message := g.listen(left)
		if message == msgClose {
			return
		}
		if message == heardEnd {
			g.orphaned = true
			g.thaws.over.Store(true)
			break
		}
	}
	g.takeOver()
}

// listen waits for a message for a time, for ever if it is negative. A signal, as
// the runtime sends them to itself, ends no wait.
func (g *process) listen(limit time.Duration) byte {
	end := time.Now().Add(limit)
	for {
		ms := -1
		if limit >= 0 {
			ms = int(max(0, time.Until(end))/time.Millisecond) + 1
		}
		fds := []unix.PollFd{{Fd: int32(g.socket), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return heardNothing
		}
		return g.hear()
	}
}

func (g *process) hear() byte {
	var b [1]byte
	switch n, err := unix.Read(g.socket, b[:]); {
	case err == nil && n == 1:
		return b[0]
	case err == nil, errors.Is(err, unix.ECONNRESET):
		return heardEnd
	}
	return heardNothing
}

// again is the pause between two looks at an owner that lives but has not
// answered: it may be stopped, with one call on its way.
const again = 20 * time.Millisecond

// resumePatience is how long thaws wait for the first round of resumes.
const resumePatience = time.Second

// takeOver lets all writers go. Fronts have a thread, and each filesystem has one:
// a thaw blocks if the owner's last call suspends the front beneath, and only
// another round of the fronts' thread ends that; and a filesystem that writes to a
// dead disk at its thaw keeps no other. A resume comes before the thaws above it,
// unless one of the resumes does not return.
func (g *process) takeOver() {
	g.mem.Store(byteLost, 1)
	anyway := time.AfterFunc(resumePatience, g.thaws.start)
	released := g.resumeAll()
	if anyway.Stop() {
		g.thaws.start()
	}
	for ; ; released = g.resumeAll() {
		_ = g.expedite.Off() // nothing is left to report it to
		if !g.thaws.over.Load() {
			switch g.listen(again) {
			case heardEnd:
				g.orphaned = true
				g.thaws.over.Store(true)
			case msgClose:
				g.thaws.over.Store(true)
			}
			continue
		}
		select {
		case <-g.thaws.done:
			if released {
				g.expedite.forget()
				g.reload()
				return
			}
			time.Sleep(again)
		case <-time.After(again):
		}
	}
}

// resumeAll resumes suspended fronts with the table they have, and reports whether all
// run. A table in an inactive slot is cleared first: a resume would swap it in.
func (g *process) resumeAll() bool {
	all := true
	for i := len(g.fronts) - 1; i >= 0; i-- {
		f := g.fronts[i]
		if err := f.status.Do(); err != nil {
			// Only a number without a device blocks no writer.
			all = all && errors.Is(err, unix.ENXIO)
			continue
		}
		state := f.status.State()
		if state.Inactive {
			f.displace()
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

// displace keeps what waits in the slot if the owner did not put it there.
func (f *frontCalls) displace() {
	if f.next.Do() != nil {
		return
	}
	if b, fits := f.next.Payload(); !fits || bytes.Equal(b, f.waits) {
		return
	}
	f.displaced, _ = f.next.Specs()
	f.flags = ioctl.SecureData
	if f.next.Info().ReadOnly {
		f.flags |= ioctl.ReadOnly
	}
}

// reload loads what fronts need once writers run: what was displaced, since the other
// program goes on with it, and, for an owner that is gone, a table in place of what was
// cleared. An owner that lives waits for that, and has its locks. No failure blocks a
// writer; recovery does what is left.
func (g *process) reload() {
	for _, f := range g.fronts {
		switch {
		case f.displaced != nil && !g.orphaned:
			_ = f.reinstate()
		case f.displaced != nil:
			_ = g.alone(f.reinstate)
		case g.orphaned && len(f.waits) > 0:
			_ = slot.RenewFront(context.Background(), g.k, f.ctl, f.id, g.alone)
		}
	}
}

func (f *frontCalls) reinstate() error { return f.ctl.Load(f.id, f.flags, f.displaced) }

// errUntold: the owner is of a release that does not tell its locks.
var errUntold = errors.New("the locks of the origins are not known")

// alone calls a function unless an operation has one of the origins by now, which may be
// about to bring its own table live.
func (g *process) alone(do func() error) (err error) {
	keys := journal.MomentKeys(g.locks)
	if len(keys) == 0 {
		return errUntold
	}
	locks, err := journal.Dir{Kernel: g.k}.Lock(os.Getpid(), keys...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locks.Unlock()) }()
	return do()
}

// follow resumes a base if the front stands on it, and suspends it if the front
// has its own table. Nothing is left in the front's inactive slot that could turn
// that round. A failure shows when the front is resumed, or in the next round.
func (b *baseCalls) follow() {
	if b.deps.Do() != nil {
		return
	}
	if slices.Contains(b.deps.Deps(), b.dev) {
		_ = b.resume.Do()
	} else {
		_ = b.suspend.Do()
	}
}
