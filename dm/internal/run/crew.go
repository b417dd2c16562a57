package run

import (
	"runtime"

	"github.com/dmsnap/dmsnap/ioctl"
)

// crew makes several system calls at once, each on a thread of its own. All of
// it exists before the window: an order to a thread allocates nothing and starts
// nothing.
type crew struct {
	orders []chan order
	done   chan any // what a call panicked with; nil for most
	narrow func()   // gives the processors back
}

type order struct {
	do func(int)
	i  int
}

// newCrew can do as many things at once as width says, the caller's thread
// included. The scheduler gets a processor for each: it would notice threads
// that block in the kernel only after milliseconds, and keep the others waiting.
func newCrew(width int) *crew {
	c := &crew{done: make(chan any, max(width, 1)), narrow: withProcessors(width)}
	for range width - 1 {
		orders := make(chan order)
		c.orders = append(c.orders, orders)
		go c.work(orders)
	}
	c.all(0, width, func(int) {}) // each thread has run once before it counts
	return c
}

func (c *crew) work(orders chan order) {
	runtime.LockOSThread() // the thread ends with the goroutine, so nothing is put back
	ioctl.Hurry()
	for o := range orders {
		c.done <- c.try(o)
	}
}

func (c *crew) try(o order) (panicked any) {
	defer func() { panicked = recover() }()
	o.do(o.i)
	return nil
}

// all does first to end-1 at once and returns when all are done. There must be
// no more of them than the crew is wide. A panic goes on in the caller.
func (c *crew) all(first, end int, do func(int)) {
	if first >= end {
		return
	}
	for i := first + 1; i < end; i++ {
		c.orders[i-first-1] <- order{do, i}
	}
	panicked := c.try(order{do, first})
	for range end - first - 1 {
		if p := <-c.done; panicked == nil {
			panicked = p
		}
	}
	if panicked != nil {
		panic(panicked)
	}
}

// dismiss ends the threads of a crew, if there is one.
func (c *crew) dismiss() {
	if c == nil {
		return
	}
	for _, orders := range c.orders {
		close(orders)
	}
	c.narrow()
}
