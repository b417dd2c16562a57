package inventory

import (
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

// Host is all that is known of all sets.
type Host struct {
	View    *stack.View
	Intents []journal.Intent
	Records []journal.Set
}

// Knows tells whether a device, an intent or a record has a set's id.
func (h Host) Knows(id string) bool {
	return h.View.Any(func(d stack.Device) bool { return d.ID == id }) ||
		slices.ContainsFunc(h.Intents, func(i journal.Intent) bool { return i.ID == id }) ||
		slices.ContainsFunc(h.Records, func(r journal.Set) bool { return r.ID == id })
}

// Unused tells whether a device is a base on which nothing stands, or stood beneath one
// that is gone, and whether no intent names it.
func (h Host) Unused(d stack.Device) bool {
	alone := d.Role == plan.RoleBase && len(h.View.PlanBase(d).Images) == 0 && !h.View.CarriesStore(d.Dev) ||
		d.Role == plan.RoleLower && h.View.OnLower(d) == nil
	return alone && !slices.ContainsFunc(h.Intents, func(i journal.Intent) bool { return slices.Contains(i.Bases, plan.BaseNameOf(d.Name)) })
}

// Layers are the ids of what is left of removed sets, by the kernel's tables and, for
// those that a reboot ended, by their records.
func (h Host) Layers() (ids []string) {
	for d := range h.View.Devices() {
		if d.Role == plan.RoleCore && strings.HasPrefix(d.Name, plan.CoreName(plan.LayerName(d.ID), "")) {
			ids = append(ids, d.ID)
		}
	}
	for _, r := range h.Records {
		if plan.IsLayer(r.Name) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// HasReaders tells whether a snapshot of another set reads through one of a set's.
func HasReaders(v *stack.View, id string) bool {
	return v.Any(func(d stack.Device) bool {
		return d.ID == id && d.Role == plan.RoleCore && len(v.ReadBy(d)) > 0
	})
}

// SharesBase tells whether a snapshot of a set reads the same base as another one.
func SharesBase(v *stack.View, snap stack.Device, id string) bool {
	base, ok := v.BaseOf(snap)
	return ok && v.Any(func(d stack.Device) bool {
		other, ok := v.BaseOf(d)
		return ok && d.Snapshot() && d.ID == id && other == base
	})
}

// Rebuild makes an intent that cannot be read out of a set's devices and its record.
// Only a create freezes.
func Rebuild(i journal.Intent, known Set, removal plan.RemoveRequest) journal.Intent {
	i.Set = known.Name
	if known.Record != nil {
		for _, v := range known.Record.Volumes {
			i.Bases = append(i.Bases, plan.BaseName(v.Name))
		}
	}
	for _, v := range removal.Volumes {
		if v.Origin.Base != nil {
			i.Bases = append(i.Bases, v.Origin.Base.Name)
		}
		if v.Origin.Known() {
			i.Origins = append(i.Origins, v.Origin.Dev.String())
		}
	}
	i.Freezes = i.Op == "create"
	return i
}
