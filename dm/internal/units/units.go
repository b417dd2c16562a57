package units

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Units are the letters and their powers of two, largest first.
var Units = [...]struct {
	Letter byte
	Shift  uint
}{{'t', 40}, {'g', 30}, {'m', 20}, {'k', 10}}

// Parse reads a number with k, m, g, t or KiB, MiB, GiB, TiB (powers of 1024, either
// case), which may have a fraction, or a whole number with %. A bare number is refused:
// half of the peers take it for sectors, the other half for MiB. So is 10GB: a power of
// 1000 for some of them.
func Parse(text string) (n uint64, percent bool, err error) {
	t := strings.ToLower(text)
	end := strings.LastIndexFunc(t, func(r rune) bool { return '0' <= r && r <= '9' || r == '.' }) + 1
	number, unit := t[:end], strings.TrimSpace(t[end:])
	switch {
	case t == "":
		return 0, false, fmt.Errorf("empty size")
	case unit == "":
		return 0, false, fmt.Errorf("size %q has no unit: write %[1]sk, %[1]sm, %[1]sg, %[1]st or %[1]s%%", text)
	case unit == "%":
		n, err = strconv.ParseUint(number, 10, 64)
		percent = true
	case len(unit) == 2 && strings.IndexByte("kmgt", unit[0]) >= 0 && unit[1] == 'b':
		return 0, false, fmt.Errorf("size %q is ambiguous: write %s%c or %[2]s%[4]ciB, in powers of 1024", text, number, unit[0], unit[0]-'a'+'A')
	default:
		n, err = scale(number, unit)
	}
	switch {
	case errors.Is(err, errTooLarge):
		return 0, false, fmt.Errorf("size %q is too large", text)
	case err != nil:
		return 0, false, fmt.Errorf("size %q is not a number followed by k, m, g, t or %%", text)
	case n == 0:
		return 0, false, fmt.Errorf("size %q is zero", text)
	}
	return n, percent, nil
}

var (
	errTooLarge = errors.New("too large")
	errUnit     = errors.New("no such unit")
)

// scale is a number of units in bytes. A fraction has six digits at most, so that it
// cannot overflow.
func scale(number, unit string) (uint64, error) {
	whole, digits, _ := strings.Cut(number, ".")
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || len(digits) > 6 || strings.HasSuffix(number, ".") {
		return 0, errUnit
	}
	part, err := strconv.ParseUint("0"+digits, 10, 64)
	if err != nil {
		return 0, err
	}
	for _, u := range Units {
		if unit != string(u.Letter) && unit != string(u.Letter)+"ib" {
			continue
		}
		rest := (part << u.Shift) / uint64(math.Pow10(len(digits)))
		if n > (^uint64(0)-rest)>>u.Shift {
			return 0, errTooLarge
		}
		return n<<u.Shift + rest, nil
	}
	return 0, errUnit
}
