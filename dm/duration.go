package dm

import (
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/units"
)

// ParseDuration reads a duration as flags take it: what time.ParseDuration reads, days
// (2d) and weeks (1w) before that, or seconds as a bare number.
func ParseDuration(text string) (time.Duration, error) { return units.ParseDuration(text) }
