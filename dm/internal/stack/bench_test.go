package stack_test

import (
	"fmt"
	"testing"
)

// BenchmarkLook loads the view of a host with many sets of one origin. The fake kernel
// answers, so it is the cost of our side: decoding, parsing, indexing.
func BenchmarkLook(b *testing.B) {
	for _, sets := range []int{1, 500} {
		b.Run(fmt.Sprint(sets), func(b *testing.B) {
			h := newHost(b)
			base := h.layer("vg-home")
			for i := range sets {
				set := fmt.Sprint("s", i)
				h.image(set, "vg-home", base, disk(2), 0)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.r.Look(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
