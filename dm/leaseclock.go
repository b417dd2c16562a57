package dm

import (
	"log/slog"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

// leaseClock tells how far leases are, by the kernel's clocks and processes.
type leaseClock struct {
	read *stack.Reader
	log  *slog.Logger
}

// hasEnded reports whether the lease of a record has ended. Within one boot the clock
// that cannot be set decides, after a reboot the wall clock.
func (c leaseClock) hasEnded(r journal.Set) (bool, error) {
	if r.Lease == "" {
		return false, nil
	}
	l, err := ParseLease(r.Lease)
	if err != nil {
		return false, err
	}
	boot, err := c.read.BootID()
	if err != nil {
		return false, err
	}
	switch {
	case l.Boot:
		return r.BootID != boot, nil
	case l.PID != 0:
		start, err := c.read.StartOf(l.PID)
		return r.BootID != boot || start != r.LeaseStart, err
	case r.BootID != boot:
		return time.Now().After(r.Created.Add(l.For)), nil
	}
	up, err := c.read.Uptime()
	return err == nil && up > r.LeaseEnd, err
}

// check refuses a lease that has already ended.
func (c leaseClock) check(l Lease) error {
	if l.PID == 0 {
		return nil
	}
	start, err := c.read.StartOf(l.PID)
	if err == nil && start == "" {
		return plan.Refuse(plan.Usage, "", "name a process that runs", "there is no process %d to lease the set to", l.PID)
	}
	return err
}

// begin writes a lease into the record of a new set.
func (c leaseClock) begin(r *journal.Set, l Lease) (err error) {
	r.Lease = l.String()
	switch {
	case l.PID != 0:
		r.LeaseStart, err = c.read.StartOf(l.PID)
	case l.For != 0:
		if r.LeaseEnd, err = c.read.Uptime(); err == nil {
			r.LeaseEnd += l.For
		}
	}
	return err
}

// state describes the lease of a record, nil if it has none.
func (c leaseClock) state(r journal.Set) *LeaseState {
	if r.Lease == "" && !r.Held {
		return nil
	}
	st := &LeaseState{Lease: r.Lease, Held: r.Held}
	if l, err := ParseLease(r.Lease); err == nil && l.For != 0 {
		until := r.Created.Add(l.For)
		st.Until = &until
	}
	over, err := c.hasEnded(r)
	if err != nil {
		c.log.Warn("a lease cannot be checked", "set", r.Name, "error", err)
	}
	st.Expired = over && !r.Held
	return st
}
