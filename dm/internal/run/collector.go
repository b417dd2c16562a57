package run

import (
	"runtime/debug"
	"sync"
)

// collector keeps the garbage collector off while any window is open. There is
// one collector in a process, whatever number of managers: a window that gave
// back what it found would leave it off for ever if it found another window's.
var collector struct {
	sync.Mutex
	windows int // open ones
	percent int // what the process had before the first
}

// withoutCollector switches the collector off and returns what ends that.
func withoutCollector() (end func()) {
	collector.Lock()
	defer collector.Unlock()
	if collector.windows == 0 {
		collector.percent = debug.SetGCPercent(-1)
	}
	collector.windows++
	return func() {
		collector.Lock()
		defer collector.Unlock()
		if collector.windows--; collector.windows == 0 {
			debug.SetGCPercent(collector.percent)
		}
	}
}
