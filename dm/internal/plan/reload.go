package plan

import "github.com/dmsnap/dmsnap/targets"

// Reloadable tells whether a live table may be loaded once more into its own device,
// and swapped in, while that is used. What may be copied onto a base may, and a
// snapshot-origin, which keeps nothing. A snapshot may not while its origin is written
// to: when the kernel has handed its exceptions over, there is a moment in which
// neither of the two has old chunks copied (dm-snap.c, snapshot_resume).
func Reloadable(t targets.Table) bool {
	for _, row := range t {
		switch row.Target.(type) {
		case targets.Origin:
			continue
		case targets.Interpose:
			return false
		}
		if _, bad := stateful[row.Target.Type()]; bad {
			return false
		}
	}
	return len(t) > 0
}
