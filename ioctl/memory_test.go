package ioctl

import (
	"fmt"
	"slices"
	"testing"
)

// TestAbsent: programs and libraries are brought in, and memory with pages in
// swap; reserved heap is not.
func TestAbsent(t *testing.T) {
	const smaps = `00400000-0082f000 r-xp 00000000 fe:01 1234                               /usr/sbin/dmsnap
Size:               4284 kB
Rss:                2000 kB
Swap:                  0 kB
SwapPss:               0 kB
VmFlags: rd ex mr mw me
40000000-40400000 rw-p 00000000 00:00 0                              [anon: Go: heap]
Size:               4096 kB
Swap:                 12 kB
SwapPss:              12 kB
40400000-44000000 ---p 00000000 00:00 0
Size:              61440 kB
Swap:                  0 kB
7ffd0000-7ffe0000 rw-p 00000000 00:00 0                                  [stack]
Swap:                  0 kB
`
	var got []string
	absent(smaps, func(start, end uintptr) { got = append(got, fmt.Sprintf("%x-%x", start, end)) })
	if want := []string{"400000-82f000", "40000000-40400000"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
