package extents

import (
	"iter"
	"math/bits"
)

// MaxUnits is how many units a window has at most: 16 MiB of memory.
const MaxUnits = 1 << 27

// Window is a part of a volume in which ranges are marked in any order, in units. A
// large volume is gone through in several: memory stays bounded, whatever the size of
// the volume and of its chunks.
type Window struct {
	in    Extent
	unit  uint64
	words []uint64
}

// NewWindow has nothing marked. Its start is a multiple of the unit.
func NewWindow(in Extent, unit uint64) *Window {
	units := (in.End - in.Start + unit - 1) / unit
	return &Window{in: in, unit: unit, words: make([]uint64, (units+63)/64)}
}

// Span is the length of the windows of a volume whose chunks are marked in one unit,
// a multiple of the largest chunk too.
func Span(unit, largest uint64) uint64 { return max(unit*MaxUnits/largest*largest, largest) }

// Mark marks the units that a range touches, as far as it lies in the window.
func (w *Window) Mark(e Extent) {
	e = Extent{max(e.Start, w.in.Start), min(e.End, w.in.End)}
	if e.Start >= e.End {
		return
	}
	from, to := (e.Start-w.in.Start)/w.unit, (e.End-1-w.in.Start)/w.unit // both included
	first, last := from/64, to/64
	head, tail := ^uint64(0)<<(from%64), ^uint64(0)>>(63-to%64)
	if first == last {
		w.words[first] |= head & tail
		return
	}
	w.words[first] |= head
	for i := first + 1; i < last; i++ {
		w.words[i] = ^uint64(0)
	}
	w.words[last] |= tail
}

// All is what is marked, within the window, joined.
func (w *Window) All() iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		join := NewJoin(yield)
		for i, word := range w.words {
			for word != 0 {
				skip := bits.TrailingZeros64(word)
				run := bits.TrailingZeros64(^(word >> skip))
				at := w.in.Start + (uint64(i)*64+uint64(skip))*w.unit
				if !join.Add(Extent{at, min(at+uint64(run)*w.unit, w.in.End)}) {
					return
				}
				if skip+run >= 64 {
					break
				}
				word &= ^uint64(0) << (skip + run)
			}
		}
		join.End()
	}
}
