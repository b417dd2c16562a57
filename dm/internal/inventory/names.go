package inventory

import (
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

// NameOf takes the name of a set out of the name of a snapshot, for sets that no
// record names.
func NameOf(snap stack.Device, volume string) string {
	prefix := plan.NamePrefix
	if snap.Role == plan.RoleCore {
		prefix = plan.CorePrefix
	}
	return strings.TrimSuffix(strings.TrimPrefix(snap.Name, prefix), "-"+volume)
}

// SetOf is the name of a snapshot's set, by the kernel's names; its id if nothing
// tells what the volume is called.
func SetOf(v *stack.View, snap stack.Device) string {
	base, found := v.BaseOf(snap)
	if d := v.Base(base); found && d != nil {
		return NameOf(snap, strings.TrimPrefix(d.Name, plan.BaseName("")))
	}
	return snap.ID
}

// Stores are the live stores of a set, by the kernel's names alone: of all its volumes,
// if one snapshot has its name.
func Stores(v *stack.View, name string) (stores []stack.Device) {
	ids := map[string]bool{}
	for d := range v.Devices() {
		if d.Snapshot() && SetOf(v, d) == name {
			ids[d.ID] = true
		}
	}
	for d := range v.Devices() {
		if ids[d.ID] && d.Role == plan.RoleStore && d.Info.Live {
			stores = append(stores, d)
		}
	}
	return stores
}
