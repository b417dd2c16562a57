package plan

import (
	"strings"

	"github.com/dmsnap/dmsnap/targets"
)

// interposed chooses the redirector of a plain device.
func interposed(o Origin) (Redirector, error) {
	switch {
	case len(o.Plain.Holders) > 0:
		// Bios that a device above hands down could be on their way to the front when
		// it is removed; and that device can be cut itself.
		return nil, Refuse(Unsupported, o.Path, "name that device, or the mount point",
			"%s is used by %s", o.Path, strings.Join(o.Plain.Holders, ", "))
	case o.Plain.Partitioned:
		return nil, Refuse(Unsupported, o.Path, "name the partition, or the mount point",
			"%s has partitions, and writes to them would be missed", o.Path)
	case !o.Plain.Interposer:
		return nil, Refuse(Unsupported, o.Path,
			"install the package dmsnap-dkms, or unmount it and run dmsnap attach "+o.Path+" (man dmsnap-attach)",
			"%s is a plain device: snapshots of it while it is in use need the kernel module dm-interpose", o.Path)
	}
	return moduleRedirector{}, nil
}

// checkRedirect refuses a plain device whose layer cannot carry a set.
func checkRedirect(o Origin) error {
	const again = "remove its sets or run dmsnap detach, then try again"
	switch {
	case !o.Base.Fronted || !o.Base.Redirect.Attached():
		return Refuse(Busy, o.Path, again, "snapshots of %s are bypassed: its writes no longer pass through dmsnap", o.Path)
	case o.Base.Redirect.State == targets.InterposeDead:
		return Refuse(Busy, o.Path, again, "%s has been removed from this machine", o.Path)
	case !o.Base.Redirect.Serves():
		return Refuse(Busy, o.Path, again, "snapshots of %s are bypassed: the module says that the redirect of its writes is %s", o.Path, o.Base.Redirect.State)
	case o.Base.Redirect.Bypassed > 0:
		return Refuse(Busy, o.Path, again, "snapshots of %s are bypassed: %d writes reached it under another name, for example through the whole disk", o.Path, o.Base.Redirect.Bypassed)
	case o.Base.Table.Size() != o.Size:
		return Refuse(Busy, o.Path, again, "the size of %s has changed since it was attached", o.Path)
	}
	return nil
}

// moduleRedirector serves plain devices with the interposer module: base and
// front are devices of ours, and the module hands to the front what is addressed
// to the plain device. Nobody waits meanwhile. The base may have the table of a layer:
// then the module's stands beneath it.
type moduleRedirector struct{ layer targets.Table }

func (moduleRedirector) Name() string { return "module" }

func (m moduleRedirector) Attach(o Origin, base, baseUUID string) []Step {
	id, _, _, _ := ParseUUID(baseUUID)
	front, role, redirected, table := FrontName(o.Volume), RoleBase, base, interposeTable(o)
	var steps []Step
	if m.layer != nil {
		role, redirected = RoleLower, LowerName(o.Volume)
		steps = newDevice(role, redirected, LowerUUID(id), table, o.ReadOnly)
		table = m.layer
	}
	steps = append(steps, newDevice(RoleBase, base, baseUUID, table, o.ReadOnly)...)
	steps = append(steps, newDevice(RoleFront, front, FrontUUID(id), frontTable(o.Size, base), o.ReadOnly)...)
	return append(steps, Step{
		Phase: Prepare, Action: Attach, Role: role, Device: redirected, Front: front,
		Late: true, Undo: &Step{Action: Detach, Role: role, Device: redirected},
	})
}

func interposeTable(o Origin) targets.Table {
	return targets.Table{{Length: o.Size, Target: targets.Interpose{Dev: numbered(o.Dev)}}}
}

// Detach has nothing to do: the writers go back to the plain device by
// themselves.
func (moduleRedirector) Detach(Origin) []Step { return nil }

// Engage and Disengage too: the base serves from the start.
func (moduleRedirector) Engage(Origin, string) []Step { return nil }

func (moduleRedirector) Disengage(Origin) []Step { return nil }

func (moduleRedirector) Leave(o Origin) []Step {
	if !o.Base.Redirect.Attached() {
		return nil
	}
	role, name := o.Base.redirected()
	return []Step{{Phase: Finish, Action: Detach, Role: role, Device: name}}
}

func (moduleRedirector) Drop(o Origin) []Step {
	steps := append(drop(RoleFront, o.Name), drop(RoleBase, o.Base.Name)...)
	if o.Base.Lower != nil {
		steps = append(steps, drop(RoleLower, o.Base.Lower.Name)...)
	}
	return steps
}

// verifyRedirect looks whether the devices of a plain device's layer have their tables, and
// all writers use the front.
func (v Volume) verifyRedirect() []Step {
	s := Step{Phase: Finish, Action: Verify, Role: RoleBase, Device: v.Base, Table: interposeTable(v.Origin), Front: v.Front}
	layer := v.Layer
	if b := v.Origin.Base; b != nil {
		if s.Role, s.Device = b.redirected(); b.Lower != nil {
			layer = b.Table
		}
	}
	if layer == nil {
		return []Step{s}
	}
	if v.NewBase {
		s.Role, s.Device = RoleLower, LowerName(v.Name)
	}
	return []Step{s, {Phase: Finish, Action: Verify, Role: RoleBase, Device: v.Base, Table: layer}}
}
