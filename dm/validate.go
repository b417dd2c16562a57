package dm

import (
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// Validate refuses a request that no host could fulfil, with an Error of CodeUsage.
// Create, PlanCreate and Prepare begin with it. It looks at nothing but the
// request.
func (r CreateRequest) Validate() error {
	if err := r.check(); err != nil {
		return diagnosis{op: "create", set: r.Name}.fail(err)
	}
	return nil
}

func (r CreateRequest) check() error {
	for _, check := range []func() error{r.checkName, r.checkStores, r.checkTimes, r.Lease.check, r.checkLabels, r.checkHooks} {
		if err := check(); err != nil {
			return err
		}
	}
	switch r.Consistency {
	case "", Application, Filesystem, Crash:
		return nil
	}
	return plan.Refuse(plan.Usage, "", "use application, filesystem or crash", "unknown consistency %q", r.Consistency)
}

func (r CreateRequest) checkName() error {
	if r.Name == "" {
		return nil
	}
	if err := plan.CheckSetName(r.Name); err != nil {
		return plan.Refuse(plan.Usage, "", "choose another --name", "%v", err)
	}
	return nil
}

func (r CreateRequest) checkStores() error {
	if len(r.Origins) == 0 && r.Select.isZero() {
		return plan.Refuse(plan.Usage, "", "name at least one device or mount point", "no origin was named")
	}
	if r.Select.isZero() && len(r.Select.Except) > 0 {
		return plan.Refuse(plan.Usage, "", "use --all, --recursive or --vg, or name fewer origins", "there is nothing to leave %q out of", r.Select.Except)
	}
	named := map[string]bool{"": true}
	for _, o := range r.Origins {
		named[o] = true
	}
	for spec := range r.Stores {
		if !named[spec] {
			return plan.Refuse(plan.Usage, spec, "use exactly the same string as among the origins", "a store is given for %q, which is not among the origins", spec)
		}
	}
	switch chunk := targets.Sectors(r.ChunkBytes / 512); {
	case r.Persistent && r.Transient:
		return plan.Refuse(plan.Usage, "", "ask for one of them", "a set cannot be both persistent and transient")
	case r.ChunkBytes%512 != 0 || chunk&(chunk-1) != 0:
		return plan.Refuse(plan.Usage, "", "use a power of two between 4k and 1g", "chunk size %d is not a power of two", r.ChunkBytes)
	}
	return nil
}

// checkTimes: a negative time would mean that nothing ever ends the wait.
func (r CreateRequest) checkTimes() error {
	for _, limit := range []struct {
		name string
		time time.Duration
	}{{"freeze timeout", r.FreezeTimeout}, {"hook timeout", r.HookTimeout}} {
		if limit.time < 0 {
			return plan.Refuse(plan.Usage, "", "use a time above zero, or zero for the default", "%s %v is negative", limit.name, limit.time)
		}
	}
	return nil
}

// check refuses what could not be read back from a record.
func (l Lease) check() error {
	asked := 0
	for _, set := range []bool{l.For != 0, l.PID != 0, l.Boot} {
		if set {
			asked++
		}
	}
	switch {
	case asked > 1:
		return plan.Refuse(plan.Usage, "", "choose one of them", "a lease has several ends: give a time, a process or the next boot")
	case l.For < 0:
		return plan.Refuse(plan.Usage, "", "use a time above zero", "lease %v is not positive", l.For)
	case l.PID < 0:
		return plan.Refuse(plan.Usage, "", "name a running process", "no process has the id %d", l.PID)
	}
	return nil
}

// checkLabels refuses what KEY=VALUE on one line could not say.
func (r CreateRequest) checkLabels() error {
	for key, value := range r.Labels {
		if key == "" || strings.Contains(key, "=") || strings.ContainsAny(key+value, "\n\x00") {
			return plan.Refuse(plan.Usage, "", "use a key without =, and one line of text", "invalid label %q=%q", key, value)
		}
	}
	return nil
}
