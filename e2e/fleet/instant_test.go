package fleet

import (
	"testing"
	"time"
)

// TestInstant: an image with the numbers 1 and 2 was cut after 2 was asked for and before 3 was written.
func TestInstant(t *testing.T) {
	at := func(ms ...int) (all []time.Time) {
		for _, m := range ms {
			all = append(all, time.UnixMilli(int64(m)))
		}
		return all
	}
	k := &ticker{asked: at(10, 20, 30, 40), answered: at(15, 25, 35, 45)}
	from, to := k.instant(t, "1\n2\n")
	if from.UnixMilli() != 20 || to.UnixMilli() != 35 {
		t.Errorf("between %v and %v", from.UnixMilli(), to.UnixMilli())
	}
}
