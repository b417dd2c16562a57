package plan

import (
	"fmt"
	"strings"

	"github.com/dmsnap/dmsnap/targets"
)

// A Redirector brings our front beneath the writers of an origin. Redirectors
// differ only in how base and front come to be; all above is the same.
type Redirector interface {
	// Name is what doctor and --dry-run call it.
	Name() string
	// Attach returns the steps, all in Prepare, after which the base has its size
	// and the front's table is live or waits in the inactive slot.
	Attach(o Origin, base, baseUUID string) []Step
	// Engage returns the steps of the window, between the suspend of the front and
	// the resume of the image, after which the base serves.
	Engage(o Origin, base string) []Step
	// Detach returns the steps, all in Prepare, after which the origin's own
	// table waits in the front's inactive slot. Without any the front needs no
	// table of its own to be left.
	Detach(o Origin) []Step
	// Disengage returns the steps of the window, between the suspend of the front
	// and its resume, after which the base does not serve.
	Disengage(o Origin) []Step
	// Leave returns the steps, all in Finish, that take the writers off the front
	// before the last image goes; Drop those that remove what Attach made, after.
	Leave(o Origin) []Step
	Drop(o Origin) []Step
}

// Redirect chooses the redirector of an origin, or says why there is none.
func Redirect(o Origin) (Redirector, error) {
	if o.Plain != nil {
		return interposed(o)
	}
	if HandedOver(o.Table) {
		return handoverRedirector{}, checkHandover(o)
	}
	for _, row := range o.Table {
		if why, bad := stateful[row.Target.Type()]; bad {
			return nil, &Refusal{
				Kind: Unsupported, Device: o.Path,
				Why:  fmt.Sprintf("%s has a %s target, %s", o.Path, row.Target.Type(), why),
				Hint: "take a snapshot of the devices below or above it instead",
			}
		}
	}
	if o.Adopted() {
		return adoptedRedirector{}, nil
	}
	return dmRedirector{}, nil
}

// RedirectorOf is the redirector that made an origin's layer.
func RedirectorOf(o Origin) Redirector {
	switch {
	case o.Adopted(), o.Plain != nil && !o.Plain.Interposer:
		return adoptedRedirector{}
	case o.Plain != nil:
		return moduleRedirector{}
	case HandedOver(o.Base.Table):
		return handoverRedirector{}
	}
	return dmRedirector{}
}

// stateful are targets of which two live instances, or an instance loaded while
// another runs, would each write the same metadata: their table must not be
// copied onto a base.
var stateful = map[string]string{
	"cache":           "whose metadata only one table may hold",
	"clone":           "whose metadata only one table may hold",
	"era":             "whose metadata only one table may hold",
	"integrity":       "whose journal only one table may hold",
	"writecache":      "whose cache only one table may hold",
	"vdo":             "whose metadata only one table may hold",
	"thin-pool":       "whose metadata only one table may hold",
	"raid":            "in a table with other targets: its superblocks can be handed over only together",
	"mirror":          "in a table with other targets: its log can be handed over only together",
	"zoned":           "whose metadata only one table may hold",
	"snapshot":        "which is itself a snapshot",
	"snapshot-merge":  "which is being merged",
	"snapshot-origin": "which already belongs to snapshots of another tool",
	"multipath":       "which the kernel does not allow to be replaced, whatever its queue mode",
}

// dmRedirector serves origins that are device-mapper devices already: their
// table moves to the base, and a snapshot-origin takes its place.
type dmRedirector struct{}

func (dmRedirector) Name() string { return "dm" }

func (dmRedirector) Attach(o Origin, base, baseUUID string) []Step {
	steps := newDevice(RoleBase, base, baseUUID, o.Table, o.ReadOnly)
	return append(steps, Step{
		Phase: Prepare, Action: LoadTable, Role: RoleFront, Device: o.Name, Table: frontTable(o.Size, base), Live: o.Table, ReadOnly: o.ReadOnly,
		Late: true, Undo: restore(o.Name, o.Table, o.ReadOnly),
	})
}

func (dmRedirector) Engage(Origin, string) []Step { return nil } // the base is live since prepare

func (dmRedirector) Detach(o Origin) []Step {
	return []Step{{
		Phase: Prepare, Action: LoadTable, Role: RoleFront, Device: o.Name, Table: o.Base.Table, Live: o.Table, ReadOnly: o.Base.ReadOnly,
		Undo: restore(o.Name, o.Table, o.ReadOnly),
	}}
}

func (dmRedirector) Disengage(Origin) []Step { return nil }

func (dmRedirector) Leave(Origin) []Step { return nil }

func (dmRedirector) Drop(o Origin) []Step { return drop(RoleBase, o.Base.Name) }

// frontTable has the kernel copy old chunks for all images of a base.
func frontTable(size targets.Sectors, base string) targets.Table {
	return targets.Single(size, targets.Origin{Dev: mapped(base)})
}

// restore gives a front the table back that it had, whichever slot ours is in.
func restore(front string, t targets.Table, readOnly bool) *Step {
	return &Step{Action: Restore, Role: RoleFront, Device: front, Table: t, ReadOnly: readOnly}
}

// newDevice makes a device and brings its table live. Nobody uses it yet, so it
// needs no window.
func newDevice(r Role, name, uuid string, t targets.Table, readOnly bool) []Step {
	return []Step{
		{
			Phase: Prepare, Action: CreateDevice, Role: r, Device: name, UUID: uuid,
			Undo: &Step{Action: RemoveDevice, Role: r, Device: name, UUID: uuid},
		},
		{Phase: Prepare, Action: LoadTable, Role: r, Device: name, Table: t, ReadOnly: readOnly},
		{Phase: Prepare, Action: Resume, Role: r, Device: name},
	}
}

// mapped names a device-mapper device inside a table; run puts its number there.
func mapped(name string) targets.Device { return targets.Device{Path: mapperDir + name} }

const mapperDir = "/dev/mapper/"

// MappedName is the inverse of how plans name devices in tables.
func MappedName(d targets.Device) (string, bool) {
	return strings.CutPrefix(d.Path, mapperDir)
}
