package run

import (
	"errors"
	"math"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/dmsnap/dmsnap/ioctl"
)

// process is what windows change of the whole process. There is one collector
// and one number of processors, whatever number of managers: a window that gave
// back what it found would keep it changed for ever if it found another
// window's.
var process struct {
	sync.Mutex
	collecting setting
	limited    setting
	processors setting
	locked     int // users of locked memory
}

// setting is a number that counts users, and gets its old value back after the
// last of them.
type setting struct {
	users  int
	before int64
}

func (s *setting) change(set func(int64) int64, to int64) (back func()) {
	process.Lock()
	defer process.Unlock()
	if found := set(to); s.users == 0 {
		s.before = found
	}
	s.users++
	return func() {
		process.Lock()
		defer process.Unlock()
		if s.users--; s.users == 0 {
			set(s.before)
		}
	}
}

// withoutCollector keeps the garbage collector off, also where a limit of memory
// (GOMEMLIMIT) would call it.
func withoutCollector() (end func()) {
	percent := process.collecting.change(func(n int64) int64 { return int64(debug.SetGCPercent(int(n))) }, -1)
	limit := process.limited.change(debug.SetMemoryLimit, math.MaxInt64)
	return func() {
		limit()
		percent()
	}
}

// withProcessors lets the scheduler run at least n threads at once.
func withProcessors(n int) (end func()) {
	set := func(n int64) int64 { return int64(runtime.GOMAXPROCS(int(n))) }
	return process.processors.change(set, int64(max(n, runtime.GOMAXPROCS(0))))
}

// LockMemory locks the memory of the process until the last that asked for it
// unlocks. It brings pages in each time: what came since the last time may have been
// swapped out before it was locked.
func LockMemory() (unlock func() error, err error) {
	process.Lock()
	defer process.Unlock()
	process.locked++
	if err := ioctl.LockMemory(); err != nil {
		return nil, errors.Join(err, unlockMemory())
	}
	return func() error {
		process.Lock()
		defer process.Unlock()
		return unlockMemory()
	}, nil
}

func unlockMemory() error {
	if process.locked--; process.locked > 0 {
		return nil
	}
	return ioctl.UnlockMemory()
}
