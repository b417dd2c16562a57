package store

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// file is a file that dmsnap makes, or a directory to make it in. On an origin
// of the set its blocks are mapped beneath the origin's front; anywhere else a
// loop device serves, which the filesystem cannot move away from.
type file struct{ path string }

// Filesystems whose blocks stay where they are, and those that can hold a loop
// device's file. Others copy, compress, or move blocks when they like.
var (
	mappable = []string{"ext4", "xfs"}
	loopable = []string{"btrfs", "ext4", "xfs"}
)

func (f file) Inspect(h *Host, o plan.Origin) (plan.Store, error) {
	dir, base, err := f.place(h)
	if err != nil {
		return plan.Store{}, err
	}
	system, err := h.at(dir)
	if err != nil {
		return plan.Store{}, err
	}
	if base == "" {
		dir, base = system.Path, h.File
	}
	return inspectFile(h, o, path.Join(dir, base), system)
}

// place is the directory without symbolic links, and the name in it: there must be
// none yet. Without a name only the filesystem counts.
func (f file) place(h *Host) (dir, base string, err error) {
	dir, base = path.Split(path.Clean(f.path))
	st, err := h.Read.Kernel.Stat(f.path)
	switch {
	case err == nil && st.Is(unix.S_IFDIR):
		dir, base = f.path, ""
	case err == nil:
		return "", "", plan.Refuse(plan.Usage, f.path, "name a file that does not exist yet, or a directory", "store file %s already exists", f.path)
	case !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	}
	real, err := h.Read.RealPath(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", plan.Refuse(plan.NotFound, dir, "create the directory first", "%s does not exist: a store file cannot be created in it", dir)
	}
	return real, base, err
}

func inspectFile(h *Host, o plan.Origin, name string, system filesystem) (plan.Store, error) {
	s := plan.Store{Kind: "file", Path: name, Size: area(h.room(system))}
	if !system.writable() {
		return s, plan.Refuse(plan.Usage, name, "name a writable directory", "store file %s would be on a read-only filesystem", name)
	}
	if len(system.devices) == 0 {
		return s, plan.Refuse(plan.Unsupported, name, "name a directory on another filesystem", "store file %s would be on %s, which has no block device of its own", name, system.FSType)
	}
	s.Dev = system.devices[0]
	g, err := h.Read.Geometry(h.Read.Node(s.Dev))
	if err != nil {
		return s, err
	}
	s.LogicalBlock = g.LogicalBlock
	for _, d := range system.devices {
		way, found, err := h.Read.WayDown(o.Dev, d, h.Origins, h.Ours)
		if err != nil {
			return s, err
		}
		if found {
			return onOrigin(h, s, system, way)
		}
	}
	return elsewhere(h, s, system)
}

// onOrigin maps the file's blocks beneath the front: what is written there
// neither waits for the frozen filesystem nor causes another copy.
func onOrigin(h *Host, s plan.Store, system filesystem, way stack.Way) (plan.Store, error) {
	if !slices.Contains(mappable, system.FSType) {
		return s, plan.Refuse(plan.Unsupported, s.Path, "name a store on another filesystem", "store file %s would be on an origin of the set with %s, which moves the blocks of files", s.Path, system.FSType)
	}
	if plan.HandedOver(way.Host.OwnTable()) {
		return s, plan.Refuse(plan.Unsupported, s.Path, "name a store on another filesystem", "store file %s would be on an origin of the set with redundant copies, %s, below which nothing can be written before the snapshot", s.Path, way.Host.Path)
	}
	if way.Host.Base == nil && plan.HandedOver(way.Host.Table) {
		return s, plan.Refuse(plan.Unsupported, s.Path, "name a store on another filesystem", "store file %s would be on origin %s, whose base cannot be written to before the snapshot", s.Path, way.Host.Path)
	}
	s.Backing, s.Host, s.Way = plan.Extents, way.Host.Dev, way.Stretches
	for _, base := range way.Bases {
		if len(base.Images) > 0 {
			s.FillFor = append(s.FillFor, base.Images...)
			s.Size = min(s.Size, area(h.spare(base)))
		}
	}
	var numbers []targets.DevNo
	for _, d := range way.Host.OwnTable().Devices() {
		numbers = append(numbers, d.DevNo)
	}
	var err error
	s.Beneath, err = h.reach(numbers...)
	return s, err
}

// spare is what the stores of a base's images can still take: making the file
// has them copy what was in its blocks.
func (h *Host) spare(base plan.Base) targets.Sectors {
	least := targets.Sectors(1) << 54
	for d := range h.Ours.Devices() {
		if !slices.Contains(base.Images, d.Name) || d.Status.State != targets.Active {
			continue
		}
		// Half of it: the images must live on.
		least = min(least, (d.Status.Total-min(d.Status.Total, d.Status.Used))/2)
	}
	return least - least%8
}

// elsewhere uses a loop device. It must not stand on any origin of the set:
// writing an old chunk out would wait for the filesystem, and the filesystem for
// the chunk.
func elsewhere(h *Host, s plan.Store, system filesystem) (plan.Store, error) {
	var err error
	if s.Beneath, err = h.reach(system.devices...); err != nil {
		return s, err
	}
	if o, found := h.origin(s.Beneath); found {
		return s, plan.Refuse(plan.Unsupported, s.Path, "name a store that does not depend on an origin of the set", "writes to store file %s may have to be copied from origin %s: the two would deadlock", s.Path, o.Path)
	}
	if !slices.Contains(loopable, system.FSType) {
		return s, plan.Refuse(plan.Unsupported, s.Path, "name a directory on ext4, xfs or btrfs", "store file %s would be on %s, which cannot hold a store", s.Path, system.FSType)
	}
	s.Backing, s.NoCOW = plan.Loop, system.FSType == "btrfs"
	return s, nil
}
