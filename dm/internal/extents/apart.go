package extents

import "slices"

// Apart compares two ways down to an origin, each from an image to what it reads last:
// what lies on one of them only. Where they meet, both images read the same. So they
// differ at most where a snapshot on one way only has a chunk of its own: that is how
// reads find their data, whoever was cut, chained, flattened or removed in between. met
// is false if they lead to different origins.
func Apart[T comparable](one, other []T) (ones, others []T, met bool) {
	for i, at := range one {
		if n := slices.Index(other, at); n >= 0 {
			return one[:i], other[:n], true
		}
	}
	return one, other, false
}
