package store

import (
	"path"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/targets"
)

// filesystem is one that a file may be made on.
type filesystem struct {
	freeze.Mount
	devices []targets.DevNo // that it lives on; none for those without a block device
	size    uint64          // bytes
	avail   uint64          // bytes free for everybody
}

// at finds the filesystem that a directory, given without symbolic links, is on:
// of mounts on one path the last covers the others.
func (h *Host) at(dir string) (fs filesystem, err error) {
	for _, m := range h.Mounts.All() {
		if m.PID == 0 && covers(m.Path, dir) && len(m.Path) >= len(fs.Path) {
			fs.Mount = m
		}
	}
	return h.measure(fs.Mount, dir)
}

func (h *Host) measure(m freeze.Mount, dir string) (filesystem, error) {
	fs := filesystem{Mount: m, devices: h.Mounts.Devices(m)}
	st, err := h.Read.Kernel.Statfs(dir)
	fs.size, fs.avail = st.Blocks*uint64(st.BlockSize), st.Avail*uint64(st.BlockSize)
	return fs, err
}

func covers(mount, p string) bool {
	return mount == p || strings.HasPrefix(p, strings.TrimSuffix(mount, "/")+"/")
}

// room is what files may take, in sectors: what is free less the reserve.
func (h *Host) room(fs filesystem) targets.Sectors {
	reserve := min(fs.size/20, 1<<30)
	if h.Policy.Reserve != nil {
		reserve = h.Policy.Reserve(fs.size)
	}
	const align = 4096 // blocks of every filesystem here are no larger, or multiples
	return targets.Sectors((fs.avail - min(fs.avail, reserve)) / align * align / 512)
}

// writable says of the mount and its superblock that files can be made.
func (fs filesystem) writable() bool {
	ro := func(options string) bool { return slices.Contains(strings.Split(options, ","), "ro") }
	return !ro(fs.Options) && !ro(fs.SuperOptions)
}

// devicesOf are the block devices that a file is on.
func (h *Host) devicesOf(name string) []targets.DevNo {
	fs, err := h.at(path.Dir(name))
	if err != nil {
		return nil
	}
	return fs.devices
}

// reach is where writes to some devices end up.
func (h *Host) reach(from ...targets.DevNo) ([]targets.DevNo, error) {
	return h.Read.Reach(h.Ours, h.devicesOf, from...)
}

// origin finds an origin of the set among devices.
func (h *Host) origin(devices []targets.DevNo) (plan.Origin, bool) {
	for _, o := range h.Origins {
		if slices.Contains(devices, o.Dev) {
			return o, true
		}
	}
	return plan.Origin{}, false
}
