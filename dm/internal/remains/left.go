package remains

import (
	"path"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/freeze"
)

// LeftFiles are files by the name of stores, on mounted filesystems, and files that
// hold their filesystem, which neither the kernel nor a record knows. They are
// reported and stay: another state directory may know them.
func (r *Reader) LeftFiles(ours *stack.View) ([]string, error) {
	mounted, err := freeze.Mounts(r.Kernel)
	if err != nil {
		return nil, err
	}
	known, err := r.Host(ours)
	if err != nil {
		return nil, err
	}
	pins, err := store.Pins(r.Kernel)
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
		for _, name := range r.namesIn(m.Path) {
			if owner, mine := strings.CutPrefix(name, plan.FilePrefix); mine {
				add(owner, path.Join(m.Path, name))
			}
		}
		for _, owner := range r.namesIn(path.Join(m.Path, plan.StoreDir)) {
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
