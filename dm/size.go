package dm

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Size is an amount of space: bytes, or a share of the origin's size. The zero
// value means "not given".
type Size struct {
	Bytes   uint64
	Percent uint64 // of the origin; only if Bytes is zero
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
	for _, u := range sizeUnits {
		if n := uint64(1) << u.shift; s.Bytes != 0 && s.Bytes%n == 0 {
			return strconv.FormatUint(s.Bytes/n, 10) + string(u.letter)
		}
	}
	return strconv.FormatUint(s.Bytes, 10) + " bytes"
}

var sizeUnits = [...]struct {
	letter byte
	shift  uint
}{{'t', 40}, {'g', 30}, {'m', 20}, {'k', 10}}

// UnmarshalText reads a number with k, m, g, t (powers of 1024, either case) or
// %. A bare number is refused: half of the peers take it for sectors, the other
// half for MiB.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.ToLower(string(text))
	if t == "" {
		return fmt.Errorf("empty size")
	}
	unit := t[len(t)-1]
	n, err := strconv.ParseUint(t[:len(t)-1], 10, 64)
	if unit >= '0' && unit <= '9' {
		return fmt.Errorf("size %q has no unit: append k, m, g, t or %%", text)
	}
	if err != nil {
		return fmt.Errorf("size %q is not a number with k, m, g, t or %%", text)
	}
	if n == 0 {
		return fmt.Errorf("size %q is zero", text)
	}
	if unit == '%' {
		*s = Size{Percent: n}
		return nil
	}
	for _, u := range sizeUnits {
		if u.letter != unit {
			continue
		}
		if n > ^uint64(0)>>u.shift {
			return fmt.Errorf("size %q is too large", text)
		}
		*s = Size{Bytes: n << u.shift}
		return nil
	}
	return fmt.Errorf("size %q is not a number with k, m, g, t or %%", text)
}

// MarshalText is String as bytes.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
