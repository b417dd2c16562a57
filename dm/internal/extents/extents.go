// Package extents computes with ranges of a volume: what a chain of snapshots says
// of the difference between two images, in bounded memory. It is pure; it reads and
// knows no device.
package extents

import "iter"

// Extent is a range of a volume in bytes, [Start, End).
type Extent struct{ Start, End uint64 }

// Sequences of extents are sorted and do not overlap, those that come in and those
// that go out.

// Join makes one extent of those that touch. It ends the sequence it is given once
// see says no.
type Join struct {
	see  func(Extent) bool
	last Extent
}

// NewJoin hands the joined extents to see.
func NewJoin(see func(Extent) bool) *Join { return &Join{see: see} }

// Add takes the next extent, which begins where the last one ends or later.
func (j *Join) Add(e Extent) bool {
	switch {
	case e.Start >= e.End:
		return true
	case j.last.End == e.Start:
		j.last.End = e.End
		return true
	}
	more := j.End()
	j.last = e
	return more
}

// End hands over what is still held back.
func (j *Join) End() bool {
	last := j.last
	j.last = Extent{}
	return last.Start == last.End || j.see(last)
}

// Clip leaves what lies within one extent.
func Clip(all iter.Seq[Extent], in Extent) iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		for e := range all {
			e = Extent{max(e.Start, in.Start), min(e.End, in.End)}
			if e.Start < e.End && !yield(e) {
				return
			}
		}
	}
}

// Without is what lies in the first sequence and not in the second.
func Without(all, but iter.Seq[Extent]) iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		next, stop := iter.Pull(but)
		defer stop()
		gap, more := next()
		for e := range all {
			for more && gap.End <= e.Start {
				gap, more = next()
			}
			for more && gap.Start < e.End {
				if e.Start < gap.Start && !yield(Extent{e.Start, gap.Start}) {
					return
				}
				if e.Start = max(e.Start, gap.End); e.Start >= e.End {
					break
				}
				gap, more = next()
			}
			if e.Start < e.End && !yield(e) {
				return
			}
		}
	}
}

// Inward shrinks an extent to the whole units that lie in it.
func (e Extent) Inward(unit uint64) Extent {
	return Extent{(e.Start + unit - 1) / unit * unit, e.End / unit * unit}
}

// Of is one extent as a sequence.
func Of(e Extent) iter.Seq[Extent] {
	return func(yield func(Extent) bool) { yield(e) }
}
