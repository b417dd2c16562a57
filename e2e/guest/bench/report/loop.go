package report

import (
	"os"
	"time"
)

// Loop is the time of a fixed amount of small system calls and of work between them: what a command does, to compare an
// emulated machine with its host.
func Loop() time.Duration {
	best := time.Duration(0)
	for range 5 {
		start := time.Now()
		for range 500 {
			text, err := os.ReadFile("/proc/self/stat")
			if err != nil {
				return 0
			}
			sum := 0
			for _, b := range text {
				sum += int(b)
			}
		}
		if took := time.Since(start); best == 0 || took < best {
			best = took
		}
	}
	return best
}

// MS is a time in milliseconds.
func MS(d time.Duration) string { return ms(d) }
