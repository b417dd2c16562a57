package report

import (
	"strings"
	"testing"
	"time"
)

func TestStats(t *testing.T) {
	if got := statsOf([]int64{3, 1, 2}); got.median != 2*time.Microsecond || got.p90 != 3*time.Microsecond || got.p99 != 3*time.Microsecond {
		t.Errorf("got %v", got)
	}
	if got := statsOf(nil); got != (stats{}) {
		t.Errorf("of nothing: %v", got)
	}
}

func TestPrint(t *testing.T) {
	sample := func(volumes int, method, op string, gap, wall int64) Sample {
		return Sample{FS: "ext4", Volumes: volumes, Method: method, Op: op, GapUS: gap, WallUS: wall}
	}
	ours := sample(1, Dmsnap, Create, 20_000, 100_000)
	ours.Own = Own{WindowUS: 10_000, BeforeUS: 60_000, AfterUS: 30_000, Steps: []Step{
		{"freeze /a (ext4)", 0, 4000}, {"freeze /b (ext4)", 3000, 3000}, {"resume dmsnap-s-a", 6100, 1000}, {"resume a", 7200, 2500},
	}}
	var b strings.Builder
	err := Print(&b, []Sample{
		ours, sample(1, LVM, Create, 80_000, 1_000_000), sample(1, Expedited, Create, 10_000, 15_000),
		sample(8, Dmsnap, Create, 50_000, 100_000),
	})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"dmsnap 1 20.0 20.0 20.0 0.25 2.00 100.0 100.0 100.0 0.10 10.0 10.0 10.0",
		"1: gap to lvcreate's 0.25 aim 0.40 met", "1: gap to the expedited floor's 2.00 aim 1.25 MISSED",
		"1: wall to lvcreate's 0.10 aim 0.33 met", "gap of many to one's 2.50 aim 2.00 MISSED",
		"before the window 60.0", "freeze 6.0", "resume image 1.0", "resume front 2.5", "between calls 0.5", "after the window 30.0", "gap beyond the window 10.0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}
