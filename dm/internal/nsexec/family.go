package nsexec

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// family are all processes below this one. A reaper has no other way to know them:
// one that lost its parent, or has a session of its own, is still below.
type family struct {
	mu      sync.Mutex
	killing bool
	clock   *time.Timer
}

// end sends a signal to all. SIGKILL goes on until nobody is left: one may have
// come while we looked, and each that dies wakes the reaper, which calls again.
func (f *family) end(sig unix.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.killing = f.killing || sig == unix.SIGKILL
	for _, pid := range descendants(os.Getpid()) {
		_ = unix.Kill(pid, sig) // it may be gone
	}
}

// again is called whenever one has died.
func (f *family) again() {
	f.mu.Lock()
	killing := f.killing
	f.mu.Unlock()
	if killing {
		f.end(unix.SIGKILL)
	}
}

// endWithin kills all after some time, once.
func (f *family) endWithin(after time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clock == nil {
		f.clock = time.AfterFunc(after, func() { f.end(unix.SIGKILL) })
	}
}

// descendants are the processes below one. A process that goes while we look is
// left out, its children become ours.
func descendants(of int) (all []int) {
	children := map[int][]int{}
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range dir {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if parent := parentOf(pid); parent != 0 {
			children[parent] = append(children[parent], pid)
		}
	}
	for queue := []int{of}; len(queue) > 0; queue = queue[1:] {
		all = append(all, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	slices.Sort(all)
	return all
}

// parentOf is 0 for a process that is gone.
func parentOf(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// After the name, which may hold anything (proc(5)): state, parent.
	fields := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}
