package targets_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/targets"
)

// A store in a fragmented file has a table of thousands of rows.
func BenchmarkParseTable(b *testing.B) {
	for _, rows := range []int{1, 10000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			var text strings.Builder
			for i := range rows {
				fmt.Fprintf(&text, "%d 8 linear 253:7 %d\n", 8*i, 4096*i)
			}
			b.ReportAllocs()
			b.SetBytes(int64(text.Len()))
			for b.Loop() {
				if _, err := targets.ParseTable(text.String()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The monitor parses the status of each snapshot up to 20 times a second.
func BenchmarkParseSnapshotStatus(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := targets.ParseSnapshotStatus("1638400/20971520 6416"); err != nil {
			b.Fatal(err)
		}
	}
}
