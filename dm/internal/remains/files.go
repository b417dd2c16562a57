package remains

import (
	"errors"
	"io/fs"
	"path"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// StoreFiles finds the files of a set's stores, by volume, first ones first.
func (r *Reader) StoreFiles(ours *stack.View, name, id string) (map[int][]*plan.File, error) {
	known, _ := r.Set(ours, name, id) // an intent that cannot be read was reported
	return r.filesOf(known)
}

// filesOf finds them in its record, in the intent of what did not come to its end, else
// by what the kernel's tables and the names of files tell.
func (r *Reader) filesOf(known inventory.Set) (map[int][]*plan.File, error) {
	files := known.Files()
	for d := range known.View.Devices() {
		if known.Record != nil || d.ID != known.ID || d.Role != plan.RoleStore {
			continue
		}
		lost, err := r.LostFiles(d, known.View)
		if err != nil {
			return nil, err
		}
		inventory.AddFiles(files, d.Volume, lost...)
	}
	for n, of := range files {
		for _, f := range of {
			f.Owner = plan.OwnerOf(f.Path, known.ID, n)
		}
	}
	return files, nil
}

// LostFiles finds the files of a store that only the kernel knows: by its loop
// devices, or at the root of the filesystem that its blocks belong to, if dmsnap
// chose their names.
func (r *Reader) LostFiles(d stack.Device, ours *stack.View) (files []*plan.File, err error) {
	for i, lower := range d.Table.Devices() {
		name, err := r.Read.LoopFile(lower.DevNo)
		if err != nil {
			return nil, err
		}
		if name == "/"+plan.MemoryName || i > 0 && !plan.IsFurther(path.Base(name), d.ID, d.Volume) {
			continue
		}
		if name != "" {
			on := plan.On(d.Table, lower.DevNo)
			f := &plan.File{Path: name, Bytes: on.Size().Bytes(), Backing: plan.Loop, At: startOn(d.Table, lower.DevNo).Bytes()}
			if plan.LeadOn(d.Table, lower.DevNo) {
				f.Lead = layout.Lead
			}
			files = append(files, f)
		} else if b := ours.Base(lower.DevNo); b != nil {
			return r.lostOn(*b, d)
		}
	}
	return files, nil
}

// Spill names the further devices of a store.
func (r *Reader) Spill(d stack.Device) (paths []string) {
	for i, lower := range d.Table.Devices() {
		// What dmsnap made itself is no device that a user named.
		name, err := r.Read.LoopFile(lower.DevNo)
		if made := name == "/"+plan.MemoryName || plan.IsFurther(path.Base(name), d.ID, d.Volume); i > 0 && (err != nil || !made) {
			paths = append(paths, r.Read.Node(lower.DevNo))
		}
	}
	return paths
}

// startOn is where a store's table first has something of a device.
func startOn(t targets.Table, dev targets.DevNo) targets.Sectors {
	for _, row := range t {
		if l, ok := row.Target.(targets.Linear); ok && l.Dev.DevNo == dev {
			return row.Start
		}
	}
	return t.Size()
}

// lostOn finds files whose blocks a store has of a base, wherever the filesystem is
// mounted that stands on its front.
func (r *Reader) lostOn(base, d stack.Device) ([]*plan.File, error) {
	first := plan.File{
		Bytes: d.Table.Size().Bytes(), Backing: plan.Extents, Over: base.Name,
		Way: []plan.Stretch{{Length: base.Table.Size()}},
	}
	live, pending, err := r.Read.Front(base.Dev)
	if err != nil {
		return nil, err
	}
	mounted, err := freeze.Mounts(r.Kernel)
	if err != nil {
		return nil, err
	}
	var found []*plan.File
	for _, front := range []*ioctl.Info{live, pending} {
		if front == nil || len(found) > 0 {
			continue
		}
		above, err := r.Read.Above(front.Dev)
		if err != nil {
			return nil, err
		}
		for _, a := range above {
			for _, m := range mounted.Of(a) {
				if first.Dev = a; len(found) > 0 {
					break
				}
				if found, err = r.lostIn(m.Reach, first, base, d); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(found) > 0 && found[0].At == 0 {
		return found, nil
	}
	r.Log.Warn("the store is a file whose name is lost; find it by its immutable flag: lsattr -R",
		"store", d.Name, "base", base.Name, "bytes", first.Bytes)
	return append([]*plan.File{&first}, found...), nil
}

// lostIn finds those files by their names at the root of a filesystem. What a store
// goes on with is found there even if the user chose the name of the first.
func (r *Reader) lostIn(root string, like plan.File, base, d stack.Device) (files []*plan.File, err error) {
	for _, name := range []string{plan.FileName(d.ID, d.Volume), plan.OldFileName(d.ID, d.Volume)} {
		f := like
		f.Path = path.Join(root, name)
		if _, err := r.Kernel.Lstat(f.Path); err == nil {
			if err := store.FindArea(r.Kernel, &f, d.Table, base.Dev); err != nil {
				return nil, err
			}
			files = append(files, &f)
			break
		}
	}
	for _, name := range r.namesIn(path.Join(root, plan.StoreDir)) {
		if plan.IsFurther(name, d.ID, d.Volume) {
			f := like
			f.Path, f.At, f.Lead = path.Join(root, plan.StoreDir, name), d.Table.Size().Bytes(), layout.Lead
			files = append(files, &f)
		}
	}
	return files, nil
}

func (r *Reader) namesIn(dir string) []string {
	names, err := r.Kernel.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Log.Debug("did not look for leftover store files", "directory", dir, "error", err)
	}
	return names
}
