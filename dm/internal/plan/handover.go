package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/targets"
)

// handoverRedirector serves origins whose target keeps metadata of its own on
// its devices, superblocks or a log, that only one running table may write. Two
// tables may be loaded (the constructors only read, and lvm2 does the same), but
// one is always suspended: the metadata is handed over inside the window.
//
// The base starts with a table of errors that has the right size, since front
// and image are loaded on it; its own table waits in the inactive slot.
type handoverRedirector struct{}

func (handoverRedirector) Name() string { return "handover" }

func (handoverRedirector) Attach(o Origin, base, baseUUID string) []Step {
	steps := newDevice(RoleBase, base, baseUUID, targets.Single(o.Size, targets.Error{}), o.ReadOnly)
	return append(steps,
		Step{Phase: Prepare, Action: LoadTable, Role: RoleBase, Device: base, Table: o.Table, ReadOnly: o.ReadOnly, Late: true},
		Step{
			Phase: Prepare, Action: LoadTable, Role: RoleFront, Device: o.Name, Table: frontTable(o.Size, base), Live: o.Table, ReadOnly: o.ReadOnly,
			Late: true, Undo: &Step{Action: Restore, Role: RoleFront, Device: o.Name, Table: o.Table, ReadOnly: o.ReadOnly, Peer: base},
		})
}

func (handoverRedirector) Engage(o Origin, base string) []Step {
	return []Step{{
		Phase: Window, Action: Resume, Role: RoleBase, Device: base, Peer: o.Name,
		Undo: &Step{Action: Suspend, Role: RoleBase, Device: base},
	}}
}

func (handoverRedirector) Detach(o Origin) []Step { return dmRedirector{}.Detach(o) }

func (handoverRedirector) Disengage(o Origin) []Step {
	return []Step{{
		Phase: Window, Action: Suspend, Role: RoleBase, Device: o.Base.Name, Peer: o.Name,
		Undo: &Step{Action: Resume, Role: RoleBase, Device: o.Base.Name},
	}}
}

func (handoverRedirector) Leave(o Origin) []Step { return dmRedirector{}.Leave(o) }

func (handoverRedirector) Drop(o Origin) []Step { return dmRedirector{}.Drop(o) }

// OwnTable is the origin's own, wherever it is now.
func (o Origin) OwnTable() targets.Table {
	if o.Base != nil {
		return o.Base.Table
	}
	return o.Table
}

// HandedOver tells whether only one running device may have a table.
func HandedOver(t targets.Table) bool {
	return len(t) == 1 && (t[0].Target.Type() == "raid" || t[0].Target.Type() == "mirror")
}

// checkHandover refuses a table that would do more, when loaded a second time,
// than go on where the first one stopped.
func checkHandover(o Origin) error {
	parse, check := targets.ParseRaidStatus, checkRaid
	if o.Table[0].Target.Type() == "mirror" {
		parse, check = targets.ParseMirrorStatus, checkMirror
	}
	if err := check(o, strings.Fields(o.Table[0].Target.Params())); err != nil {
		return err
	}
	s, err := parse(o.Status)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Path, err)
	}
	if !s.Whole() {
		return Refuse(Busy, o.Path, "wait until lvs shows it in sync; lvconvert --repair replaces a device that failed",
			"the copies of %s are not in sync: devices %s, %d of %d in sync%s", o.Path, s.Health, s.Synced, s.Total, doing(s.Action))
	}
	return nil
}

// checkRaid: these arguments tell the kernel to begin something.
func checkRaid(o Origin, words []string) error {
	for _, begin := range []string{"rebuild", "sync", "delta_disks", "data_offset"} {
		if slices.Contains(words, begin) {
			return Refuse(Busy, o.Path, "wait until lvs shows it in sync, then lvchange --refresh",
				"the table of %s says %s: loading it a second time would start that again", o.Path, begin)
		}
	}
	return nil
}

// checkMirror: only a log on a disk tells another table what is in sync.
func checkMirror(o Origin, words []string) error {
	if len(words) > 0 && (words[0] == "disk" || words[0] == "core" && slices.Contains(words, "nosync")) {
		return nil
	}
	return Refuse(Unsupported, o.Path, "lvconvert --type raid1, or lvconvert --mirrorlog disk",
		"%s is a mirror without a log on disk: loading it a second time would copy everything again", o.Path)
}

func doing(action string) string {
	if action == "" || action == "idle" {
		return ""
	}
	return ", " + action + " in progress"
}

// checkApart refuses a handover above another origin of the set: its metadata is
// written while that one is suspended.
func checkApart(vs []Volume) error {
	for _, upper := range vs {
		if !upper.NewBase || !HandedOver(upper.Origin.Table) {
			continue
		}
		for _, lower := range vs {
			if lower.Origin.Dev != upper.Origin.Dev && slices.Contains(upper.Origin.Beneath, lower.Origin.Dev) {
				return Refuse(Unsupported, upper.Origin.Path, "use two separate sets",
					"%s keeps its own metadata on %s: they cannot be suspended at the same time", upper.Origin.Path, lower.Origin.Path)
			}
		}
	}
	return nil
}
