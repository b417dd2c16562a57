package nsexec

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Mount is one of the namespace as it was.
type Mount struct {
	ID, Parent     int
	Dev            string // "254:0"
	Root           string // directory of the filesystem that is mounted
	Path           string
	FSType, Source string
}

// Action is what an op does.
type Action string

// Actions. Paths that are not absolute are in the supervisor's scratch directory.
const (
	Bind  Action = "bind"  // what is at From, without what is mounted below it, to To
	Take  Action = "take"  // move the mount at From to To
	Drop  Action = "drop"  // detach the mount at From
	Lay   Action = "lay"   // directory From of an image to To
	Put   Action = "put"   // move what was taken or bound back
	Mask  Action = "mask"  // an empty directory over To, if there is one
	Pivot Action = "pivot" // From is the root of the namespace
)

// Op is one step.
type Op struct {
	Do       Action
	From, To string
	// Optional: the image may lack the directory. Then it is left out and reported.
	Optional bool
}

// Layout is what the command sees.
type Layout struct {
	Ops      []Op
	Laid     []string // paths at which it sees an image
	Live     []string // paths below them at which it sees another, live filesystem
	LeftOut  []string // those that it does not see
	Writable []string // paths below them that are live and can be written
}

// newRoot is the scratch directory in which a new root is put together.
const newRoot = "root"

// imageDir is where the whole image i is mounted in the scratch directory.
func imageDir(i int) string { return fmt.Sprintf("image%d", i) }

// Plan lays each image over every mount point of its origin, bind mounts included.
//
// A mount in whose place the image comes is detached, so that nothing live is
// hidden beneath; what is mounted below it is taken out of the way before and put
// back then. The root of a running process cannot be replaced like that: its
// image becomes the root, with what was mounted below the old one. That comes
// last, when all else is in its place.
func Plan(mounts []Mount, p Program) (Layout, error) {
	b := &planner{tree: newTree(mounts), p: p}
	if err := b.check(); err != nil {
		return Layout{}, err
	}
	for _, m := range b.tree.visible {
		if i := b.image(m); i >= 0 && m.Path != "/" {
			b.replace(m, i, m.Path)
		}
	}
	if i := b.image(b.tree.root); i >= 0 {
		b.replace(b.tree.root, i, newRoot)
		b.op(Op{Do: Pivot, From: newRoot})
	}
	b.report()
	return b.out, nil
}

// planner is a plan in the making.
type planner struct {
	tree *tree
	p    Program
	out  Layout
	held int
}

func (b *planner) op(o Op) { b.out.Ops = append(b.out.Ops, o) }

// image is the one that takes the place of a mount, -1 if none does.
func (b *planner) image(m *Mount) int {
	return slices.IndexFunc(b.p.Images, func(i Image) bool { return i.Origin == m.Dev })
}

// check refuses what cannot be laid out.
func (b *planner) check() error {
	if b.tree.root == nil {
		return fmt.Errorf("the root of this process is no mount point: it cannot be replaced")
	}
	for _, image := range b.p.Images {
		if !slices.ContainsFunc(b.tree.visible, func(m *Mount) bool { return m.Dev == image.Origin }) {
			return fmt.Errorf("the origin of %s is not mounted here, so that there is no path for its image", image.Device)
		}
	}
	for _, h := range b.p.Writable {
		if m := b.tree.at(h.Path); h.Asked && m.Path == h.Path && b.image(m) >= 0 {
			return fmt.Errorf("%s is an origin's mount point: it cannot be both live and an image", h.Path)
		}
	}
	for _, m := range b.tree.visible {
		if parent := b.tree.byID[m.Parent]; b.image(m) >= 0 && b.p.Only && b.omitted(parent) {
			return fmt.Errorf("%s is to be left out, but %s below it is in the set", parent.Path, m.Path)
		}
	}
	return nil
}

// omitted tells whether a mount is left out by Only.
func (b *planner) omitted(m *Mount) bool {
	return m != nil && b.p.Only && b.image(m) < 0 && !m.pseudo() && b.covered(m)
}

// covered tells whether a mount is below a path that shows an image.
func (b *planner) covered(m *Mount) bool {
	for m = b.tree.byID[m.Parent]; m != nil; m = b.tree.byID[m.Parent] {
		if b.image(m) >= 0 {
			return true
		}
	}
	return false
}

// child is what comes back on top of an image.
type child struct {
	path string
	held string
	opt  bool
}

// replace puts the image of m to a path.
func (b *planner) replace(m *Mount, i int, to string) {
	var back []child
	for _, h := range b.holes(m) {
		c := child{path: h.Path, held: b.hold(), opt: !h.Asked}
		b.op(Op{Do: Bind, From: h.Path, To: c.held})
		back = append(back, c)
		b.out.Writable = append(b.out.Writable, h.Path)
	}
	for _, x := range b.tree.visible {
		if x.Parent != m.ID || x == m {
			continue
		}
		c := child{path: x.Path, held: b.hold(), opt: b.image(x) < 0}
		b.op(Op{Do: Take, From: x.Path, To: c.held})
		if !b.omitted(x) {
			back = append(back, c)
		}
	}
	if to == m.Path {
		b.op(Op{Do: Drop, From: m.Path})
	}
	b.op(Op{Do: Lay, From: path.Join(imageDir(i), m.Root), To: to, Optional: m.Path != "/"})
	b.out.Laid = append(b.out.Laid, m.Path)
	if m.Root == "/" {
		b.op(Op{Do: Mask, To: path.Join(to, storeDir)})
	}
	slices.SortStableFunc(back, func(x, y child) int { return cmp.Compare(x.path, y.path) })
	for _, c := range back {
		at := c.path
		if to != m.Path {
			at = path.Join(to, c.path)
		}
		b.op(Op{Do: Put, From: c.held, To: at, Optional: c.opt})
	}
}

func (b *planner) hold() string {
	b.held++
	return fmt.Sprintf("held%d", b.held)
}

// holes are the writable directories that lie on m itself.
func (b *planner) holes(m *Mount) (on []Hole) {
	for _, h := range b.p.Writable {
		if b.tree.at(h.Path) == m && h.Path != m.Path && !slices.ContainsFunc(on, func(o Hole) bool { return o.Path == h.Path }) {
			on = append(on, h)
		}
	}
	return on
}

// report says which filesystems below the laid paths are not the set's.
func (b *planner) report() {
	for _, m := range b.tree.visible {
		switch {
		case b.image(m) >= 0 || m.pseudo() || !b.covered(m):
		case b.omitted(m):
			b.out.LeftOut = append(b.out.LeftOut, m.Path)
		default:
			b.out.Live = append(b.out.Live, m.Path)
		}
	}
	slices.Sort(b.out.Laid)
	slices.Sort(b.out.Writable)
}

func (m *Mount) pseudo() bool { return Pseudo(m.FSType) }

// Pseudo tells whether a type of filesystem is the kernel's own, or in memory: no data
// that anybody backs up.
func Pseudo(fstype string) bool {
	switch fstype {
	case "proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "ramfs", "cgroup", "cgroup2", "mqueue", "hugetlbfs", "debugfs", "tracefs",
		"securityfs", "pstore", "efivarfs", "bpf", "configfs", "fusectl", "binfmt_misc", "autofs", "rpc_pipefs", "nsfs", "selinuxfs", "nfsd":
		return true
	}
	return strings.HasPrefix(fstype, "fuse.") && strings.Contains(fstype, "portal")
}
