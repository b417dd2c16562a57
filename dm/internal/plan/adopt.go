package plan

import "github.com/dmsnap/dmsnap/targets"

// adoptedRedirector serves plain devices that were put beneath a device-mapper
// device before they were mounted. From then on that is an origin like any other.
type adoptedRedirector struct{ dmRedirector }

func (adoptedRedirector) Name() string { return "adopted" }

// Adopted tells whether an origin is the device that a plain one was put beneath.
func (o Origin) Adopted() bool {
	_, _, role, _ := ParseUUID(o.UUID)
	return role == RoleAdopted
}

// adoptable tells whether that is the way: the module needs no unmount.
func (r AttachRequest) adoptable() bool {
	o := r.Origin
	return o.Plain != nil && !o.Plain.Interposer && !o.Plain.Partitioned && len(o.Plain.Holders) == 0 &&
		!r.Mounted && o.StoreOf == "" && o.Size > 0
}

// adopt plans that device. Loading its table claims the plain device: a program that has
// it already makes that fail, and nothing is changed.
func adopt(r AttachRequest) *Plan {
	o, name := r.Origin, AdoptedName(r.Origin.Volume)
	table := targets.Single(o.Size, targets.Linear{Dev: numbered(o.Dev)})
	p := &Plan{Op: "attach", Set: name, ID: r.ID, Volumes: []Volume{{Name: o.Volume, Front: name, Origin: o, NewBase: true}}}
	p.Steps = append(newDevice(RoleAdopted, name, AdoptedUUID(r.ID), table, o.ReadOnly),
		Step{Phase: Finish, Action: Settle},
		Step{Phase: Finish, Action: Verify, Role: RoleAdopted, Device: name, Table: table})
	return p
}
