package run

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// TestProcessComesBack: windows of one process overlap; after the last of them the
// process is as it was before the first.
func TestProcessComesBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(77))
	first, second := withoutCollector(), withoutCollector()
	first()
	if p := debug.SetGCPercent(-1); p != -1 {
		t.Errorf("collector at %d with a window open", p)
	}
	second()
	if p := debug.SetGCPercent(77); p != 77 {
		t.Errorf("collector at %d after the last window, 77 before the first", p)
	}
	before := runtime.GOMAXPROCS(0)
	wide, wider := withProcessors(before+2), withProcessors(before+5)
	wide()
	if n := runtime.GOMAXPROCS(0); n != before+5 {
		t.Errorf("%d processors with a window of %d open", n, before+5)
	}
	wider()
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors after the last window, %d before the first", n, before)
	}
}
