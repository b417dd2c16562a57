package run

import (
	"runtime/debug"
	"testing"
)

// TestCollectorComesBack: windows of one process overlap; the last one to close
// gives the collector back as it was.
func TestCollectorComesBack(t *testing.T) {
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
}
