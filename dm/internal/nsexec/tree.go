package nsexec

import (
	"path"
	"slices"
	"strings"
)

// storeDir is the directory at the root of a filesystem that has files of stores.
// In an image their contents mean nothing.
const storeDir = ".dmsnap"

// tree are the mounts of a namespace as paths lead to them.
type tree struct {
	root    *Mount
	byID    map[int]*Mount
	visible []*Mount // parents first
}

// newTree leaves out what paths do not lead to any more, since something else was
// mounted over it.
func newTree(mounts []Mount) *tree {
	t := &tree{byID: map[int]*Mount{}}
	for i := range mounts {
		t.byID[mounts[i].ID] = &mounts[i]
	}
	for i := range mounts {
		if m := &mounts[i]; m.Path == "/" && t.byID[m.Parent] == nil || m.Path == "/" && m.Parent == m.ID {
			t.root = m
			break
		}
	}
	if t.root == nil {
		return t
	}
	for i := range mounts {
		if m := &mounts[i]; t.at(m.Path) == m {
			t.visible = append(t.visible, m)
		}
	}
	slices.SortStableFunc(t.visible, func(a, b *Mount) int { return strings.Compare(a.Path, b.Path) })
	return t
}

// at is the mount that a path leads to: at each directory on the way the topmost of
// those that are mounted on it.
func (t *tree) at(name string) *Mount {
	m := t.root
	dir := "/"
	for _, part := range strings.Split(strings.Trim(path.Clean(name), "/"), "/") {
		dir = path.Join(dir, part)
		for above := t.on(m, dir); above != nil; above = t.on(m, dir) {
			m = above
		}
	}
	return m
}

// on is the mount on a directory of another mount.
func (t *tree) on(parent *Mount, dir string) *Mount {
	if dir == "/" {
		return nil // what was mounted over the root of a process is not reached by it
	}
	for _, m := range t.byID {
		if m.Parent == parent.ID && m.Path == dir && m != parent {
			return m
		}
	}
	return nil
}
