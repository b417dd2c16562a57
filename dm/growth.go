package dm

import (
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// readGrowth looks up how a store of files or memory grows: by one
// more. One that went on to a device uses that up first.
func (e *extender) readGrowth(out *plan.ExtendVolume, v Volume, d stack.Device, files []*plan.File) error {
	last, ok := d.Table[len(d.Table)-1].Target.(targets.Linear)
	if len(files) == 0 && v.Store.Kind != StoreRAM || !ok || out.Room > last.Offset+d.Table[len(d.Table)-1].Length {
		return nil
	}
	out.Room, out.Path = 0, v.Store.Path
	h := &store.Host{Read: e.read, Ours: e.ours.View}
	if v.Store.Kind == StoreRAM {
		room, err := h.Memory()
		out.File = &plan.File{Backing: plan.Memory, Lead: layout.Lead, Label: out.Label, LogicalBlock: out.LogicalBlock, Room: layout.Medium(room.Bytes())}
		out.File.Label.Kind = layout.Memory
		return err
	}
	if files[0].Path == "" {
		out.Stuck = "its file is no longer known"
		return nil
	}
	mounted, err := ownMounts(e.kernel)
	if err != nil {
		return err
	}
	h.Mounts = mounted.Table
	if out.File, err = e.furtherFile(h, files, out, d); err != nil || out.File.Backing == plan.Loop {
		return err
	}
	at := mounted.Of(out.File.Dev)
	if len(at) == 0 {
		out.Stuck = "the filesystem of its file is not mounted"
		return nil
	}
	out.File.Pasts, out.Stuck = e.ours.dependents(*out.File, at[0].FSType)
	return nil
}

// furtherFile is the one after those that a store has.
func (e *extender) furtherFile(h *store.Host, files []*plan.File, out *plan.ExtendVolume, d stack.Device) (*plan.File, error) {
	first := *files[0]
	if first.Dev == (targets.DevNo{}) { // found by its loop device
		st, err := e.kernel.Lstat(first.Path)
		if err != nil {
			return nil, err
		}
		first.Dev = st.Dev
	}
	f, err := h.Further(&first, plan.FurtherName(d.ID, d.Volume, len(files)))
	if err != nil {
		return nil, err
	}
	f.Owner = plan.OwnerOf(f.Path, d.ID, d.Volume)
	f.Label, f.LogicalBlock = out.Label, out.LogicalBlock
	if f.Label.Kind = layout.Looped; f.Backing == plan.Extents {
		f.Label.Kind = layout.Mapped
	}
	return f, nil
}

// dependents are the snapshots stacked on a base, directly or through others, whose
// data a new extent of the file could hide. If that cannot be known, why is set.
func (v *view) dependents(file plan.File, fstype string) (pasts []plan.Past, why string) {
	if len(file.Way) != 1 || file.Way[0].Start != file.Way[0].Offset {
		return nil, "other layers lie between its filesystem and the origin"
	}
	consistency := map[string]Consistency{}
	for _, set := range v.sets() {
		if set.Receipt != nil {
			consistency[set.UUID] = set.Receipt.Consistency
		}
	}
	var over []targets.DevNo
	if b := v.Named(file.Over); b != nil {
		over = append(over, b.Dev)
	}
	for i := 0; i < len(over); i++ {
		for d := range v.Devices() {
			if lower, ok := d.Lower(); !ok || !d.Snapshot() || lower != over[i] {
				continue
			}
			over = append(over, d.Dev)
			if d.Info.Live && d.Status.State == targets.Invalid {
				continue // nothing helps it
			}
			if bookmarked(v.View, d) {
				continue // it has no past
			}
			switch c := consistency[d.ID]; {
			case !d.Info.Live, d.Info.Suspended:
				return nil, "image " + d.Name + " is not ready"
			case !d.Info.ReadOnly:
				return nil, "image " + d.Name + " is writable"
			case c != Filesystem && c != Application:
				return nil, "image " + d.Name + " was taken without freezing its filesystem"
			}
			image := v.Member(d.ID, d.Volume, plan.RoleImage)
			if image == nil {
				continue // of a removed set: only those that read through it need anything
			}
			pasts = append(pasts, plan.Past{Image: image.Name, FSType: fstype, Options: frozenMountOptions(fstype)})
		}
	}
	return pasts, ""
}

// frozenMountOptions are those with which an image of a frozen filesystem is mounted.
func frozenMountOptions(fstype string) []string {
	options, err := besideTwin(Volume{}, probe.Found{Type: fstype, Filesystem: true})
	if err != nil {
		options = "ro"
	}
	return strings.Split(options, ",")
}
