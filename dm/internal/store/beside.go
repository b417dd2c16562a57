package store

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Beside inspects a device that the layer of an attached one keeps data of its own on,
// such as the metadata of dm-era, and returns its size. The layer's target writes to
// whatever it finds there.
func (h *Host) Beside(dev targets.DevNo, o plan.Origin) (targets.Sectors, error) {
	node := h.Read.Node(dev)
	if mine := h.Ours.At(dev); mine != nil {
		return 0, plan.Refuse(plan.Usage, node, "use a device of its own", "%s is dmsnap's own %s device", node, mine.Role)
	}
	reach, err := h.reach(dev)
	if err != nil {
		return 0, err
	}
	if slices.Contains(reach, o.Dev) {
		return 0, plan.Refuse(plan.Usage, node, "use a device that is not on "+o.Path,
			"writes to %s reach %s: the layer would wait for itself", node, o.Path)
	}
	g, err := h.Read.Geometry(node)
	if err != nil {
		return 0, err
	}
	f, err := h.Read.Kernel.Open(node, unix.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return 0, plan.Refuse(plan.Busy, node, "use a device that nothing else uses", "%s is in use", node)
	}
	if err != nil {
		return 0, err
	}
	return g.Size, errors.Join(unmarked(f, node, g.Size.Bytes()), f.Close())
}

// unmarked refuses a device that carries anything known.
func unmarked(f *ioctl.File, node string, size uint64) error {
	const hint = "use another device; wipefs shows what it holds"
	if _, err := label(f, size); !errors.Is(err, layout.ErrNone) {
		return plan.Refuse(plan.Usage, node, hint, "%s is not empty: it holds the store of a set", node)
	}
	found, err := probe.IdentifyDevice(f, size)
	if err == nil && found.Type != "" {
		return plan.Refuse(plan.Usage, node, hint, "%s is not empty: it holds a signature of %s", node, found.Type)
	}
	return err
}
