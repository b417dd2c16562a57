package run

import (
	"errors"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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

// TestMemoryLimitComesBack: a limit calls no collector in a window, and is there after
// it.
func TestMemoryLimitComesBack(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 40))
	first, second := withoutCollector(), withoutCollector()
	first()
	if now := debug.SetMemoryLimit(-1); now != math.MaxInt64 {
		t.Errorf("limited to %d with a window open", now)
	}
	second()
	if now := debug.SetMemoryLimit(-1); now != 1<<40 {
		t.Errorf("limited to %d after the last window", now)
	}
}

// TestMemoryStaysLocked until the last window of the process is over.
func TestMemoryStaysLocked(t *testing.T) {
	first, err := LockMemory()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOMEM) {
		t.Skip("needs root: memory cannot be locked")
	}
	check(t, err)
	second, err := LockMemory()
	check(t, err)
	check(t, first())
	if lockedMemory(t) == "0 kB" {
		t.Error("unlocked with a window open")
	}
	check(t, second())
	if left := lockedMemory(t); left != "0 kB" {
		t.Errorf("%s locked after the last window", left)
	}
}

func lockedMemory(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	check(t, err)
	_, after, _ := strings.Cut(string(b), "VmLck:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
