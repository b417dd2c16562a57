package extents

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// bytesOf marks each byte of some extents.
func bytesOf(t *testing.T, size uint64, all []Extent) []bool {
	t.Helper()
	marked := make([]bool, size)
	last := uint64(0)
	for i, e := range all {
		if e.Start >= e.End || e.End > size || i > 0 && e.Start < last {
			t.Fatalf("%v", all)
		}
		last = e.End
		for n := e.Start; n < e.End; n++ {
			marked[n] = true
		}
	}
	return marked
}

// random are extents in order that may touch.
func random(r *rand.Rand, size uint64) (all []Extent) {
	for at := uint64(0); at < size; {
		start := at + r.Uint64N(9)
		end := min(start+1+r.Uint64N(12), size)
		if start >= end {
			break
		}
		all, at = append(all, Extent{start, end}), end
	}
	return all
}

func joined(all []Extent) (out []Extent) {
	j := NewJoin(func(e Extent) bool { out = append(out, e); return true })
	for _, e := range all {
		j.Add(e)
	}
	j.End()
	return out
}

// TestSequences compares each operation with one byte by byte.
func TestSequences(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		size := 1 + r.Uint64N(200)
		a, b := random(r, size), random(r, size)
		in := Extent{r.Uint64N(size), size - r.Uint64N(size/2+1)}
		without := bytesOf(t, size, slices.Collect(Without(slices.Values(a), slices.Values(b))))
		clipped := bytesOf(t, size, slices.Collect(Clip(slices.Values(a), in)))
		join := joined(a)
		whole := bytesOf(t, size, join)
		inA, inB := bytesOf(t, size, a), bytesOf(t, size, b)
		for n := range size {
			if without[n] != (inA[n] && !inB[n]) || clipped[n] != (inA[n] && in.Start <= n && n < in.End) || whole[n] != inA[n] {
				t.Fatalf("byte %d of %v without %v, within %v", n, a, b, in)
			}
		}
		for i := 1; i < len(join); i++ {
			if join[i-1].End == join[i].Start {
				t.Fatalf("%v joined is %v", a, join)
			}
		}
		if len(a) > 0 {
			for e := range Without(slices.Values(a), slices.Values(b)) {
				_ = e
				break // a reader may stop
			}
		}
	}
}

func TestInward(t *testing.T) {
	for _, row := range []struct{ e, want Extent }{
		{Extent{0, 4096}, Extent{0, 4096}},
		{Extent{1, 8192}, Extent{4096, 8192}},
		{Extent{4096, 8191}, Extent{4096, 4096}},
	} {
		if got := row.e.Inward(4096); got != row.want {
			t.Errorf("%v: %v", row.e, got)
		}
	}
	if e := (Extent{1, 4095}).Inward(4096); e.Start < e.End {
		t.Errorf("%v", e)
	}
}

// TestApart: two ways differ up to where they meet.
func TestApart(t *testing.T) {
	for _, row := range []struct {
		one, other, ones, others string
		met                      bool
	}{
		{"abcX", "cX", "ab", "", true},
		{"cX", "abcX", "", "ab", true},
		{"acX", "bcX", "a", "b", true},
		{"aX", "bX", "a", "b", true},
		{"aX", "aX", "", "", true},
		{"aX", "bY", "aX", "bY", false},
	} {
		ones, others, met := Apart([]byte(row.one), []byte(row.other))
		if string(ones) != row.ones || string(others) != row.others || met != row.met {
			t.Errorf("%s and %s: %s, %s, %v", row.one, row.other, ones, others, met)
		}
	}
}

// TestSpan: a window never takes more memory than it may, and begins with a whole chunk.
func TestSpan(t *testing.T) {
	for _, unit := range []uint64{512, 4096, 64 << 10, 1 << 30} {
		for _, largest := range []uint64{unit, 4 * unit, 1 << 30} {
			if span := Span(unit, largest); span%largest != 0 || span == 0 || span/unit > max(MaxUnits, largest/unit) {
				t.Errorf("unit %d, largest %d: %d", unit, largest, span)
			}
		}
	}
}

// FuzzWindow: what is marked is listed, in whole units and no more.
func FuzzWindow(f *testing.F) {
	f.Add(uint64(1), uint16(300), uint8(3))
	f.Add(uint64(7), uint16(64*8), uint8(8))
	f.Fuzz(func(t *testing.T, seed uint64, length uint16, unit uint8) {
		u := uint64(unit%32) + 1
		r := rand.New(rand.NewPCG(seed, 0))
		start := r.Uint64N(8) * u
		in := Extent{start, start + uint64(length) + 1}
		w, want := NewWindow(in, u), make([]bool, in.End)
		for range r.IntN(40) {
			at := r.Uint64N(in.End + 20)
			e := Extent{at, at + r.Uint64N(5*u)}
			w.Mark(e)
			from, to := max(e.Start, in.Start), min(e.End, in.End)
			for n := (from - start) / u * u; from < to && n < (to-start+u-1)/u*u && start+n < in.End; n++ {
				want[start+n] = true
			}
		}
		all := slices.Collect(w.All())
		if got := bytesOf(t, in.End, all); !slices.Equal(got, want) {
			t.Fatalf("%v, unit %d: %v", in, u, all)
		}
		if !slices.Equal(joined(all), all) {
			t.Fatalf("not joined: %v", all)
		}
	})
}
