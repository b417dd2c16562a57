package plan

import (
	"maps"
	"slices"
	"strings"
)

// Group is the name of the LVM volume group that a device is a volume of, "" if it
// is none. The uuid says that it is LVM's; of the group it has an id only, and lvm2
// locks by name. The name of the device is the group's and the volume's, with a
// hyphen between them and two for each of their own (dm_build_dm_name, libdm-string.c).
// The name of a volume renamed by hand does not contain its group.
func Group(name, uuid string) string {
	if !strings.HasPrefix(uuid, "LVM-") {
		return ""
	}
	for i := 0; i < len(name); i++ {
		switch {
		case name[i] != '-':
		case i+1 < len(name) && name[i+1] == '-':
			i++
		case i+1 == len(name):
			return ""
		default:
			return strings.ReplaceAll(name[:i], "--", "-")
		}
	}
	return ""
}

func (o Origin) group() string { return Group(o.Name, o.UUID) }

// lockGroups keep lvm2 from the volumes whose fronts are touched from here until
// unlockGroups: a table that waits there it would take for its own, load none, and
// bring ours live in its place. They come after hooks, which may call lvm2, and in the
// order of the names, so that two operations never wait for each other.
func lockGroups(origins []Origin) (lock, unlock []Step) {
	groups := map[string]bool{}
	for _, o := range origins {
		if g := o.group(); g != "" {
			groups[g] = true
		}
	}
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		lock = append(lock, Step{
			Phase: Prepare, Action: LockGroup, Group: g, Late: true,
			Undo: &Step{Action: UnlockGroup, Group: g},
		})
		unlock = append(unlock, Step{Phase: Finish, Action: UnlockGroup, Group: g, Optional: true})
	}
	return lock, unlock
}

func originsOf[V placed](vs []V) []Origin {
	out := make([]Origin, len(vs))
	for i, v := range vs {
		out[i] = v.origin()
	}
	return out
}
