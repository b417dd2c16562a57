package guard

import (
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// thaws ends the freezes of a window, each on a thread of its own that waits
// before the window begins.
type thaws struct {
	mem *ioctl.Shared
	// over: the owner is dead or has seen us, nothing of it is on its way any more.
	over atomic.Bool

	begin, done chan struct{}
	left        atomic.Int64
}

func newThaws(mem *ioctl.Shared, calls []*ioctl.Call) *thaws {
	t := &thaws{mem: mem, begin: make(chan struct{}), done: make(chan struct{})}
	t.left.Store(int64(len(calls)) + 1) // start is the last
	// A thread that blocks in a thaw must not keep the others waiting for a processor.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), len(calls)+2))
	running := make(chan struct{})
	for i, call := range calls {
		go t.thread(i, call, running)
		<-running
	}
	return t
}

func (t *thaws) thread(i int, call *ioctl.Call, running chan<- struct{}) {
	runtime.LockOSThread()
	running <- struct{}{}
	<-t.begin
	for !t.thaw(i, call) {
		time.Sleep(again)
	}
	t.ended()
}

// start lets the threads go; done is closed when nothing of ours is left to thaw.
func (t *thaws) start() {
	close(t.begin)
	t.ended()
}

func (t *thaws) ended() {
	if t.left.Add(-1) == 0 {
		close(t.done)
	}
}

// thaw tells whether filesystem i is not frozen by us, and will not be. While the
// owner lives, stopped perhaps, a freeze may still come that was not even noted.
func (t *thaws) thaw(i int, call *ioctl.Call) bool {
	over, state := t.over.Load(), t.mem.Load(byteFirst+i) // in this order
	if state == freezeNone {
		return over
	}
	err := call.Do()
	thawed := err == nil || errors.Is(err, unix.EINVAL)
	if !thawed || state != freezeHeld && !over {
		return false
	}
	t.mem.Store(byteFirst+i, freezeNone)
	return over
}
