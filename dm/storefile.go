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
)

// storeFiles finds the files of a set's stores, by volume.
func (s *session) storeFiles(name, id string, ours *stack.View) (map[int]*plan.File, error) {
	known, _ := s.inventory(ours, name, id) // an intent that cannot be read was reported
	return s.filesOf(known)
}

// filesOf finds them in its record, in the intent of the create that did not come to
// its end, else by what the kernel's tables and the names of files tell.
func (s *session) filesOf(known inventory.Set) (map[int]*plan.File, error) {
	files := known.Files()
	if known.Record == nil {
		if err := s.lostFiles(files, known); err != nil {
			return nil, err
		}
	}
	for n, f := range files {
		f.Owner = plan.FileOwner(known.ID, n)
	}
	return files, nil
}

// lostFiles adds those of stores that only the kernel knows.
func (s *session) lostFiles(files map[int]*plan.File, known inventory.Set) error {
	for d := range known.View.Devices() {
		if d.ID != known.ID || d.Role != plan.RoleStore || files[d.Volume] != nil {
			continue
		}
		f, err := s.lostFile(d, known.View)
		if err != nil {
			return err
		}
		if f != nil {
			files[d.Volume] = f
		}
	}
	return nil
}

// lostFile finds the file of a store that only the kernel knows: by its loop
// device, or at the root of the filesystem that its blocks belong to, if dmsnap
// chose its name.
func (s *session) lostFile(d stack.Device, ours *stack.View) (*plan.File, error) {
	lower, ok := d.Lower()
	if !ok {
		return nil, nil
	}
	if name, err := s.read.LoopFile(lower); err != nil || name != "" {
		if err != nil || name == "/"+plan.MemoryName {
			return nil, err
		}
		f := &plan.File{Path: name, Bytes: d.Table.Size().Bytes(), Backing: plan.Loop}
		if plan.LeadOn(d.Table, lower) {
			f.Lead = layout.Lead
		}
		return f, nil
	}
	if b := ours.Base(lower); b != nil {
		return s.lostOn(*b, d)
	}
	return nil, nil
}

func (s *session) lostOn(base, d stack.Device) (*plan.File, error) {
	f := &plan.File{
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
	for _, front := range []*ioctl.Info{live, pending} {
		if front == nil {
			continue
		}
		above, err := s.read.Above(front.Dev)
		if err != nil {
			return nil, err
		}
		for _, a := range above {
			for _, m := range mounted.Of(a) {
				for _, name := range []string{plan.FileName(d.ID, d.Volume), plan.OldFileName(d.ID, d.Volume)} {
					f.Dev, f.Path = a, path.Join(m.Reach, name)
					if _, err := s.kernel.Lstat(f.Path); err == nil {
						f.Lead, err = store.FindLead(s.kernel, f, d.Table, base.Dev)
						return f, err
					}
				}
			}
		}
	}
	f.Path = ""
	s.log.Warn("the store is a file whose name is lost; find it by its immutable flag: lsattr -R",
		"store", d.Name, "base", base.Name, "bytes", f.Bytes)
	return f, nil
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
