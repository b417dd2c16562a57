package dm

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lease is how long a set is wanted. It is removed some time after its end: by
// the next command that changes something, by monitor, or by Manager.Expire. The
// zero value is for ever.
type Lease struct {
	For  time.Duration // since the cut, time spent in suspend included
	PID  int           // for as long as this process lives
	Boot bool          // until the next boot
}

// ParseLease reads a duration ("2h", "7d"), "pid:N" or "boot".
func ParseLease(text string) (Lease, error) {
	if text == "boot" {
		return Lease{Boot: true}, nil
	}
	if n, ok := strings.CutPrefix(text, "pid:"); ok {
		pid, err := strconv.Atoi(n)
		if err != nil || pid < 1 {
			return Lease{}, fmt.Errorf("lease %q: %q is not a process id", text, n)
		}
		return Lease{PID: pid}, nil
	}
	d, err := ParseDuration(text)
	if _, bare := strconv.Atoi(text); err != nil || d <= 0 || bare == nil {
		return Lease{}, fmt.Errorf("lease %q is neither a time such as 2h, nor pid:N, nor boot", text)
	}
	return Lease{For: d}, nil
}

// String is what ParseLease reads; empty for ever.
func (l Lease) String() string {
	switch {
	case l.Boot:
		return "boot"
	case l.PID != 0:
		return "pid:" + strconv.Itoa(l.PID)
	case l.For != 0:
		return l.For.String()
	}
	return ""
}

// LeaseState is the lease of a set that exists.
type LeaseState struct {
	Lease   string     `json:"lease"`   // as it was asked for
	Until   *time.Time `json:"until"`   // by the wall clock; nil if it depends on something else
	Held    bool       `json:"held"`    // the set stays while it is on hold
	Expired bool       `json:"expired"` // the set may go at any time
}
