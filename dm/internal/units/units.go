package units

import (
	"fmt"
	"strconv"
	"strings"
)

// Units are the letters and their powers of two, largest first.
var Units = [...]struct {
	Letter byte
	Shift  uint
}{{'t', 40}, {'g', 30}, {'m', 20}, {'k', 10}}

// Parse reads a number with k, m, g, t (powers of 1024, either case) or %. A
// bare number is refused: half of the peers take it for sectors, the other half
// for MiB.
func Parse(text string) (n uint64, percent bool, err error) {
	t := strings.ToLower(text)
	if t == "" {
		return 0, false, fmt.Errorf("empty size")
	}
	unit := t[len(t)-1]
	n, err = strconv.ParseUint(t[:len(t)-1], 10, 64)
	if unit >= '0' && unit <= '9' {
		return 0, false, fmt.Errorf("size %q has no unit: write %[1]sk, %[1]sm, %[1]sg, %[1]st or %[1]s%%", text)
	}
	if err != nil {
		return 0, false, fmt.Errorf("size %q is not a number followed by k, m, g, t or %%", text)
	}
	if n == 0 {
		return 0, false, fmt.Errorf("size %q is zero", text)
	}
	if unit == '%' {
		return n, true, nil
	}
	for _, u := range Units {
		if u.Letter != unit {
			continue
		}
		if n > ^uint64(0)>>u.Shift {
			return 0, false, fmt.Errorf("size %q is too large", text)
		}
		return n << u.Shift, false, nil
	}
	return 0, false, fmt.Errorf("size %q is not a number followed by k, m, g, t or %%", text)
}
