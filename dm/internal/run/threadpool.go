package run

import (
	"runtime"

	"github.com/dmsnap/dmsnap/ioctl"
)

// threadPool runs blocking system calls in parallel on locked OS threads that were
// started before the window: dispatching a task neither allocates nor starts anything.
type threadPool struct {
	tasks  []chan task
	done   chan any // what a call panicked with; nil for most
	narrow func()   // gives the processors back
}

type task struct {
	do func(int)
	i  int
}

// newThreadPool runs up to width tasks at once, one of them on the caller's thread. The scheduler gets a processor for each: it would notice threads
// that block in the kernel only after milliseconds, and keep the others waiting.
func newThreadPool(width int) *threadPool {
	c := &threadPool{done: make(chan any, max(width, 1)), narrow: withProcessors(width)}
	for range width - 1 {
		tasks := make(chan task)
		c.tasks = append(c.tasks, tasks)
		go c.work(tasks)
	}
	c.all(0, width, func(int) {}) // each thread has run once before it counts
	return c
}

func (c *threadPool) work(tasks chan task) {
	runtime.LockOSThread() // the thread ends with the goroutine, so nothing is put back
	ioctl.RaisePriority()
	for o := range tasks {
		c.done <- c.try(o)
	}
}

func (c *threadPool) try(o task) (panicked any) {
	defer func() { panicked = recover() }()
	o.do(o.i)
	return nil
}

// all runs do(first) to do(end-1) in parallel and returns when all have returned.
// There must be at most as many tasks as threads. A panic continues in the caller.
func (c *threadPool) all(first, end int, do func(int)) {
	if first >= end {
		return
	}
	for i := first + 1; i < end; i++ {
		c.tasks[i-first-1] <- task{do, i}
	}
	panicked := c.try(task{do, first})
	for range end - first - 1 {
		if p := <-c.done; panicked == nil {
			panicked = p
		}
	}
	if panicked != nil {
		panic(panicked)
	}
}

// close ends the threads; a nil pool has none.
func (c *threadPool) close() {
	if c == nil {
		return
	}
	for _, tasks := range c.tasks {
		close(tasks)
	}
	c.narrow()
}
