package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm"
)

func sampleExtents(err error) *dm.ExtentList {
	return &dm.ExtentList{
		Set: "b", UUID: "5e7b", Volume: "vg-home", Since: "a", SinceUUID: "5e7a", SizeBytes: 1 << 30, Granularity: 1 << 16,
		All: func(yield func(dm.Extent, error) bool) {
			if yield(dm.Extent{Length: 1 << 16}, nil) && (err == nil || yield(dm.Extent{}, err)) {
				yield(dm.Extent{Offset: 1 << 20, Length: 1 << 18}, nil)
			}
		},
	}
}

func sampleAllocated() *dm.ExtentList {
	l := sampleExtents(nil)
	l.Since, l.SinceUUID, l.Granularity, l.Whole = "", "", 4096, "only ext4 and xfs tell which blocks are free"
	return l
}

func fullRequired() error {
	return &dm.Error{
		Op: "changed", Set: "b", Code: dm.CodeFullRequired,
		Err:  &dm.FullRequired{Reason: dm.FullUnsupported, Volume: "vg-home", Since: "a", Why: "its set is not persistent"},
		Hint: "copy the whole image; dmsnap allocated lists what is in use",
	}
}

// TestExtentsAreComplete: a list in many documents has all extents, and an end that counts them.
func TestExtentsAreComplete(t *testing.T) {
	const all = 2*batch + 1
	list := sampleExtents(nil)
	list.All = func(yield func(dm.Extent, error) bool) {
		for n := range uint64(all) {
			if !yield(dm.Extent{Offset: 2 * n, Length: 1}, nil) {
				return
			}
		}
	}
	o := do(t, &stub{extents: list}, "changed", "b", "--since", "a", "--json")
	var got []dm.Extent
	var ends []listEnd
	for line := range strings.Lines(o.stdout) {
		var doc struct {
			Extents []dm.Extent
			Ends    []listEnd
		}
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Fatal(err)
		}
		got, ends = append(got, doc.Extents...), append(ends, doc.Ends...)
	}
	if len(got) != all || got[all-1].Offset != 2*(all-1) || len(ends) != 1 || ends[0].Extents != all || ends[0].Bytes != all {
		t.Errorf("%d extents, %+v", len(got), ends)
	}
	text := do(t, &stub{extents: sampleExtents(fullRequired())}, "changed", "b", "--since", "a")
	if text.exit != 12 || strings.Contains(text.stdout, "end") {
		t.Errorf("exit %d: %s", text.exit, text.stdout)
	}
}
