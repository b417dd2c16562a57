package run

import (
	"runtime"
	"runtime/debug"
	"sync"
)

// process is what windows change of the whole process. There is one collector
// and one number of processors, whatever number of managers: a window that gave
// back what it found would keep it changed for ever if it found another
// window's.
var process struct {
	sync.Mutex
	collecting setting
	processors setting
}

// setting is a number that counts users, and gets its old value back after the
// last of them.
type setting struct{ users, before int }

func (s *setting) change(set func(int) int, to int) (back func()) {
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

// withoutCollector keeps the garbage collector off.
func withoutCollector() (end func()) { return process.collecting.change(debug.SetGCPercent, -1) }

// withProcessors lets the scheduler run at least n threads at once.
func withProcessors(n int) (end func()) {
	return process.processors.change(runtime.GOMAXPROCS, max(n, runtime.GOMAXPROCS(0)))
}
