package format_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/store/format"
)

// BenchmarkUsage reads all areas of a store, which is what show and recover do with a
// set that the kernel gave up or that a reboot ended.
func BenchmarkUsage(b *testing.B) {
	for _, records := range []int{100, 100000} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			d := newDisk(records + records/32 + 64).fill(records)
			b.ReportAllocs()
			for b.Loop() {
				s, err := format.Open(bytes.NewReader(d), int64(len(d)))
				if err != nil {
					b.Fatal(err)
				}
				if u, err := s.Usage(); err != nil || u.Exceptions != uint64(records) {
					b.Fatal(u, err)
				}
			}
		})
	}
}

// BenchmarkExceptions visits each record, which is what a flattening begins with.
func BenchmarkExceptions(b *testing.B) {
	const records = 100000
	d := newDisk(records + records/32 + 64).fill(records)
	s, err := format.Open(bytes.NewReader(d), int64(len(d)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range s.Exceptions() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != records {
			b.Fatal(n)
		}
	}
}
