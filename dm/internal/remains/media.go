package remains

import (
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// mediaOf are the devices, by volume, that may have a set's label: those its
// stores stand on, by the kernel's tables; those its record names, after a reboot;
// and those that an interrupted operation was about to label.
func (r *Reader) mediaOf(known inventory.Set) (map[int][]plan.Medium, error) {
	media, seen := map[int][]plan.Medium{}, map[targets.DevNo]bool{}
	add := func(volume int, m plan.Medium) {
		if seen[m.Dev] {
			return
		}
		seen[m.Dev] = true
		m.Label = layout.Label{ID: known.ID, Volume: uint32(volume)}
		media[volume] = append(media[volume], m)
	}
	for d := range known.View.Devices() {
		if d.ID != known.ID || d.Role != plan.RoleStore {
			continue
		}
		for _, lower := range d.Table.Devices() {
			file, err := r.Read.LoopFile(lower.DevNo)
			if err != nil {
				return nil, err
			}
			if file == "" && plan.LeadOn(d.Table, lower.DevNo) {
				add(d.Volume, plan.Medium{Path: r.Read.Node(lower.DevNo), Dev: lower.DevNo, Held: true})
			}
		}
	}
	for _, m := range known.Media() {
		st, err := r.Kernel.Stat(m.Path)
		if err == nil && st.Is(unix.S_IFBLK) {
			add(m.Volume, plan.Medium{Path: m.Path, Dev: st.Rdev})
		}
	}
	return media, nil
}

// Unlabel are the steps that take labels off devices which an interrupted operation
// did not come to use.
func (r *Reader) Unlabel(i journal.Intent, ours *stack.View) (steps []plan.Step, err error) {
	known, err := r.Set(ours, i.Set, i.ID)
	if err != nil {
		return nil, err
	}
	media, err := r.mediaOf(known)
	for _, of := range media {
		for _, m := range of {
			if !m.Held {
				steps = append(steps, plan.Step{Phase: plan.Finish, Action: plan.WipeLabel, Role: plan.RoleStore, Medium: &m, Optional: true})
			}
		}
	}
	return steps, err
}
