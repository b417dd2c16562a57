package dm

import (
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/units"
)

// Size is an amount of space: bytes, or a share of the origin's size. The zero
// value means "not given".
type Size struct {
	Bytes   uint64
	Percent uint64 // of the origin; only if Bytes is zero
}

// Rate is bytes a second.
type Rate uint64

// takes is the whole seconds in which so many bytes go, as far as a duration can
// tell.
func (r Rate) takes(bytes uint64) *time.Duration {
	const longest = uint64(math.MaxInt64 / time.Second)
	d := time.Duration(min(bytes/uint64(r), longest)) * time.Second
	return &d
}

// IsZero tells whether no size was given.
func (s Size) IsZero() bool { return s == Size{} }

// Of resolves a share against the origin's size in bytes.
func (s Size) Of(origin uint64) uint64 {
	if s.Percent == 0 {
		return s.Bytes
	}
	hi, lo := bits.Mul64(origin, s.Percent)
	if hi >= 100 {
		return ^uint64(0)
	}
	q, _ := bits.Div64(hi, lo, 100)
	return q
}

// String is the size in its largest exact unit; UnmarshalText reads it back.
// Bytes that are no multiple of 1024 are for people only.
func (s Size) String() string {
	if s.Percent != 0 {
		return strconv.FormatUint(s.Percent, 10) + "%"
	}
	for _, u := range units.Units {
		if n := uint64(1) << u.Shift; s.Bytes != 0 && s.Bytes%n == 0 {
			return strconv.FormatUint(s.Bytes/n, 10) + string(u.Letter)
		}
	}
	return strconv.FormatUint(s.Bytes, 10) + " bytes"
}

// UnmarshalText reads a number with k, m, g, t (powers of 1024, either case) or
// %. A bare number is refused: half of the peers take it for sectors, the other
// half for MiB.
func (s *Size) UnmarshalText(text []byte) error {
	n, percent, err := units.Parse(string(text))
	switch {
	case err != nil:
		return err
	case percent:
		*s = Size{Percent: n}
	default:
		*s = Size{Bytes: n}
	}
	return nil
}

// MarshalText is String as bytes.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
