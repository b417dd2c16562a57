package dm

import (
	"context"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// growth looks up how a store grows that dmsnap made of a file or of memory. One
// that went on to a device uses that up first.
func (s *session) growth(out *plan.ExtendVolume, v Volume, d stack.Device, look *view, file *plan.File) error {
	last, ok := d.Table[len(d.Table)-1].Target.(targets.Linear)
	if file == nil && v.Store.Kind != StoreRAM || !ok || out.Room > last.Offset+d.Table[len(d.Table)-1].Length {
		return nil
	}
	out.Room, out.Path = 0, v.Store.Path
	h := &store.Host{Read: s.read, Ours: look.View}
	if v.Store.Kind == StoreRAM {
		room, err := h.Memory()
		out.File = &plan.File{Backing: plan.Memory, Lead: layout.Lead, Label: out.Label, LogicalBlock: out.LogicalBlock, Growth: plan.Growth{Room: room.Bytes()}}
		return err
	}
	now, err := s.fileNow(file, d, look.View)
	if err != nil {
		return err
	}
	if now.Path == "" || now.Growth.From == 0 {
		out.Stuck = "its file is no longer known"
		return nil
	}
	mounted, err := s.ownMounts()
	if err != nil {
		return err
	}
	h.Mounts = mounted.Table
	room, err := h.Room(now.Path, now.Dev)
	if err != nil {
		return err
	}
	now.Growth.Room, now.Label, out.File = room.Bytes(), out.Label, &now
	now.Label.Kind = layout.Mapped
	if now.Backing == plan.Loop {
		now.Label.Kind = layout.Looped
	}
	if now.Backing == plan.Extents {
		at := mounted.Of(now.Dev)
		if len(at) == 0 {
			out.Stuck = "the filesystem of its file is not mounted"
			return nil
		}
		now.Growth.Pasts, out.Stuck = look.pasts(now, at[0].FSType)
	}
	return nil
}

// fileNow is a store's file as the kernel has it: how much of it the store's table
// reaches, and its loop device.
func (s *session) fileNow(file *plan.File, d stack.Device, ours *stack.View) (plan.File, error) {
	now := *file
	if now.Backing == plan.Extents {
		if b := ours.Named(now.Over); b != nil {
			now.Growth.From = plan.On(d.Table, b.Dev).Size().Bytes()
		}
		return now, nil
	}
	for _, lower := range d.Table.Devices() {
		name, err := s.read.LoopFile(lower.DevNo)
		if err != nil {
			return now, err
		}
		if name == now.Path && name != "" {
			now.Growth.Loop, now.Growth.LoopNode = lower.DevNo, s.read.Node(lower.DevNo)
			now.Growth.From = plan.On(d.Table, lower.DevNo).Size().Bytes()
			if st, err := s.kernel.Lstat(now.Path); err == nil {
				now.Dev = st.Dev
			}
		}
	}
	return now, nil
}

// pasts are the images that may need what lies on a base: those that stand on it,
// directly or through others. Why tells what keeps their needs from being known.
func (v *view) pasts(file plan.File, fstype string) (pasts []plan.Past, why string) {
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
			pasts = append(pasts, plan.Past{Image: image.Name, FSType: fstype, Options: options(fstype)})
		}
	}
	return pasts, ""
}

// options are those with which an image of a frozen filesystem is mounted.
func options(fstype string) []string {
	options, err := besideTwin(Volume{}, probe.Found{Type: fstype, Filesystem: true})
	if err != nil {
		options = "ro"
	}
	return strings.Split(options, ",")
}

// trimFiles ends the growth of files that was interrupted: what no live table has
// goes, and all are pinned again. So do labels of devices that no table has.
func (s *session) trimFiles(ctx context.Context, i journal.Intent, ours *stack.View) error {
	files, err := s.storeFiles(i.Set, i.ID, ours)
	if err != nil {
		return err
	}
	p := &plan.Plan{Op: i.Op, Set: i.Set, ID: i.ID}
	for d := range ours.Devices() {
		file := files[d.Volume]
		if d.ID != i.ID || d.Role != plan.RoleStore || !d.Info.Live || file == nil || file.Path == "" {
			continue
		}
		now, err := s.fileNow(file, d, ours)
		if err != nil {
			return err
		}
		if now.Growth.From > 0 {
			p.Steps = append(p.Steps, plan.Step{Phase: plan.Finish, Action: plan.TrimFile, Role: plan.RoleStore, Device: d.Name, File: &now})
		}
	}
	unlabel, err := s.unlabel(i, ours)
	if err != nil {
		return err
	}
	if p.Steps = append(p.Steps, unlabel...); len(p.Steps) == 0 {
		return nil
	}
	_, err = s.usualRunner().Run(ctx, p)
	return err
}
