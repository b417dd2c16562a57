package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads 1w2d3h: weeks and days, each once and in this order, then what
// time.ParseDuration reads. A bare number is seconds, as for sleep(1).
func ParseDuration(text string) (time.Duration, error) {
	odd := fmt.Errorf("%q is not a duration: write 30s, 5m, 2h, 2d or 1w", text)
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	var sum time.Duration
	rest := text
	for _, unit := range []struct {
		letter string
		time   time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || time.Duration(n) > (math.MaxInt64-sum)/unit.time {
			return 0, odd
		}
		sum, rest = sum+time.Duration(n)*unit.time, after
	}
	if rest == "" && text != "" {
		return sum, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || sum > 0 && d < 0 || d > math.MaxInt64-sum {
		return 0, odd
	}
	return sum + d, nil
}
