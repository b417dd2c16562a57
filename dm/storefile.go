package dm

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// storeFiles finds the files of a set's stores, by volume, first ones first.
func (s *session) storeFiles(name, id string, ours *stack.View) (map[int][]*plan.File, error) {
	known, _ := s.inventory(ours, name, id) // an intent that cannot be read was reported
	return s.filesOf(known)
}

// filesOf finds them in its record, in the intent of what did not come to its end, else
// by what the kernel's tables and the names of files tell.
func (s *session) filesOf(known inventory.Set) (map[int][]*plan.File, error) {
	files := known.Files()
	for d := range known.View.Devices() {
		if known.Record != nil || d.ID != known.ID || d.Role != plan.RoleStore {
			continue
		}
		lost, err := s.lostFiles(d, known.View)
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

// lostFiles finds the files of a store that only the kernel knows: by its loop
// devices, or at the root of the filesystem that its blocks belong to, if dmsnap
// chose their names.
func (s *session) lostFiles(d stack.Device, ours *stack.View) (files []*plan.File, err error) {
	for i, lower := range d.Table.Devices() {
		name, err := s.read.LoopFile(lower.DevNo)
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
			return s.lostOn(*b, d)
		}
	}
	return files, nil
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
func (s *session) lostOn(base, d stack.Device) ([]*plan.File, error) {
	first := plan.File{
		Bytes: d.Table.Size().Bytes(), Backing: plan.Extents, Over: base.Name,
		Way: []plan.Stretch{{Length: base.Table.Size()}},
	}
	live, pending, err := s.read.Front(base.Dev)
	if err != nil {
		return nil, err
	}
	mounted, err := s.mounts()
	if err != nil {
		return nil, err
	}
	var found []*plan.File
	for _, front := range []*ioctl.Info{live, pending} {
		if front == nil || len(found) > 0 {
			continue
		}
		above, err := s.read.Above(front.Dev)
		if err != nil {
			return nil, err
		}
		for _, a := range above {
			for _, m := range mounted.Of(a) {
				if first.Dev = a; len(found) > 0 {
					break
				}
				if found, err = s.lostIn(m.Reach, first, base, d); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(found) > 0 && found[0].At == 0 {
		return found, nil
	}
	s.log.Warn("the store is a file whose name is lost; find it by its immutable flag: lsattr -R",
		"store", d.Name, "base", base.Name, "bytes", first.Bytes)
	return append([]*plan.File{&first}, found...), nil
}

// lostIn finds those files by their names at the root of a filesystem. What a store
// goes on with is found there even if the user chose the name of the first.
func (s *session) lostIn(root string, like plan.File, base, d stack.Device) (files []*plan.File, err error) {
	for _, name := range []string{plan.FileName(d.ID, d.Volume), plan.OldFileName(d.ID, d.Volume)} {
		f := like
		f.Path = path.Join(root, name)
		if _, err := s.kernel.Lstat(f.Path); err == nil {
			if err := store.FindArea(s.kernel, &f, d.Table, base.Dev); err != nil {
				return nil, err
			}
			files = append(files, &f)
			break
		}
	}
	for _, name := range s.namesIn(path.Join(root, plan.StoreDir)) {
		if plan.IsFurther(name, d.ID, d.Volume) {
			f := like
			f.Path, f.At, f.Lead = path.Join(root, plan.StoreDir, name), d.Table.Size().Bytes(), layout.Lead
			files = append(files, &f)
		}
	}
	return files, nil
}

// leftFiles are files by the name of stores, on mounted filesystems, and files that
// hold their filesystem, which neither the kernel nor a record knows. They are
// reported and stay: another state directory may know them.
func (s *session) leftFiles(ours *stack.View) ([]string, error) {
	mounted, err := s.mounts()
	if err != nil {
		return nil, err
	}
	known, err := s.known(ours)
	if err != nil {
		return nil, err
	}
	pins, err := store.Pins(s.kernel)
	if err != nil {
		return nil, err
	}
	left := []string{}
	add := func(owner, file string) {
		if id, _, _ := strings.Cut(owner, "."); !known.Knows(id) && !slices.Contains(left, file) {
			left = append(left, file)
		}
	}
	for _, m := range mounted.All() {
		image := ours.Any(func(d stack.Device) bool { return d.Dev == m.DevNo })
		if m.PID != 0 || image || len(mounted.Devices(m)) == 0 {
			continue
		}
		for _, name := range s.namesIn(m.Path) {
			if owner, mine := strings.CutPrefix(name, plan.FilePrefix); mine {
				add(owner, path.Join(m.Path, name))
			}
		}
		for _, owner := range s.namesIn(path.Join(m.Path, plan.StoreDir)) {
			if owner != plan.DirTag {
				add(owner, path.Join(m.Path, plan.StoreDir, owner))
			}
		}
	}
	for _, p := range pins {
		add(p.Owner, p.File)
	}
	return left, nil
}

func (s *session) namesIn(dir string) []string {
	names, err := s.kernel.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Debug("did not look for leftover store files", "directory", dir, "error", err)
	}
	return names
}

// known reads what our files say of all sets.
func (s *session) known(ours *stack.View) (inventory.Host, error) {
	// Intents first: a create that ends meanwhile has its record before its intent goes.
	intents, err := s.state.Intents()
	if err != nil {
		return inventory.Host{}, err
	}
	records, err := s.state.Sets()
	return inventory.Host{View: ours, Intents: intents, Records: records}, err
}
