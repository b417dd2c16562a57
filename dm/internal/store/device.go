package store

import (
	"errors"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// device is a block device or partition that nothing else uses.
type device struct{ path string }

func (d device) Inspect(h *Host, o plan.Origin) (plan.Store, error) {
	r := h.Read
	dev, err := r.Resolve(d.path, nil)
	if err != nil {
		return plan.Store{}, err
	}
	g, err := r.Geometry(d.path)
	if err != nil {
		return plan.Store{}, err
	}
	s := plan.Store{Kind: "device", Path: d.path, Dev: dev, Size: area(g.Size), LogicalBlock: g.LogicalBlock}
	stands, err := r.Beneath(dev)
	if err == nil {
		s.Beneath, err = h.reach(dev)
	}
	if err == nil {
		err = d.checkApart(s, o, h.Ours, stands)
	}
	if err != nil {
		return s, err
	}
	if g.ReadOnly {
		return s, plan.Refuse(plan.Usage, d.path, "use a writable device", "store %s is read-only", d.path)
	}
	return s, d.free(r, s, h.Force)
}

// checkApart refuses a store that is the origin, is one of ours, or that the origin is
// written to for: it stands on the origin, or is an origin itself, whose store leads
// there. Each copy would cause the next one.
func (d device) checkApart(s plan.Store, o plan.Origin, ours *stack.View, stands []targets.DevNo) error {
	if s.Dev == o.Dev {
		return plan.Refuse(plan.Usage, d.path, "use another device", "store %s is the origin itself", d.path)
	}
	for mine := range ours.Devices() {
		if mine.Dev == s.Dev {
			return plan.Refuse(plan.Usage, d.path, "use a device that is not part of a set", "store %s is dmsnap's own %s device %s", d.path, mine.Role, mine.Name)
		}
		if mine.Role == plan.RoleStore && mine.On(s.Dev) {
			return plan.Refuse(plan.Busy, d.path, "remove that set, or use another device", "store %s is already used by %s", d.path, mine.Name)
		}
	}
	if slices.Contains(stands, o.Dev) {
		return plan.Refuse(plan.Usage, d.path, "use a device that is not on the origin", "store %s is on the origin %s: copying a chunk would trigger another copy", d.path, o.Path)
	}
	if slices.Contains(s.Beneath, o.Dev) {
		return plan.Refuse(plan.Usage, d.path, "use another device, or remove the sets of "+d.path+" first", "writes to store %s may be copied to a file on the origin %s: copying a chunk would trigger another copy", d.path, o.Path)
	}
	return nil
}

// free refuses a store that is not empty or that is in use. An
// exclusive open asks the kernel: mounts, swap, RAID members and other devices'
// parts are claimed.
func (d device) free(r *stack.Reader, s plan.Store, forced bool) (err error) {
	if held, found, err := r.Suspended(s.Dev); err != nil {
		return err
	} else if found {
		return plan.Refuse(plan.Busy, d.path, "find out which program suspended it; dmsetup resume resumes it", "store %s cannot be read: %s is suspended", d.path, r.Node(held))
	}
	f, err := r.Kernel.Open(d.path, unix.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return &InUseError{Path: d.path, Dev: s.Dev}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if forced {
		return nil
	}
	return d.blank(r, f, s.Dev)
}

const force = "--force-store overwrites it"

// blank refuses a device that carries anything, a store of ours included: it may be
// that of a set which the last boot ended.
func (d device) blank(r *stack.Reader, f *ioctl.File, dev targets.DevNo) error {
	size, err := f.BlockSize()
	if err != nil {
		return err
	}
	switch l, err := label(f, size); {
	case errors.Is(err, layout.ErrDamaged), errors.Is(err, layout.ErrVersion):
		return plan.Refuse(plan.Usage, d.path, force, "store %s is not empty: %v", d.path, err)
	case err == nil:
		return plan.Refuse(plan.Usage, d.path, "dmsnap remove "+l.Set+" frees it if that set still exists; otherwise "+force,
			"store %s holds the store of volume %s of set %s", d.path, l.VolumeName, l.Set)
	case !errors.Is(err, layout.ErrNone):
		return err
	}
	found, err := probe.IdentifyDevice(f, size)
	if err != nil {
		return err
	}
	if found.Type != "" {
		return plan.Refuse(plan.Usage, d.path, force, "store %s is not empty: it holds a signature of %s", d.path, found.Type)
	}
	entry, err := r.Kernel.ReadFile("/run/udev/data/b" + dev.String())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if typ := probe.FromUdev(string(entry)); typ != "" {
		return plan.Refuse(plan.Usage, d.path, force+"; if that is out of date: udevadm trigger -w "+d.path, "store %s is not empty: it holds a signature of %s, according to udev", d.path, typ)
	}
	return err
}

// label is that of a store which the device is or was. A tail is enough.
func label(f *ioctl.File, size uint64) (l layout.Label, err error) {
	places := []uint64{0}
	if at, err := layout.TailAt(size); err == nil {
		places = append(places, at)
	}
	b := make([]byte, layout.Align)
	for _, at := range places {
		n, err := f.ReadAt(b, int64(at))
		if err != nil && !errors.Is(err, io.EOF) {
			return l, err
		}
		if l, _, err = layout.Decode(b[:n]); !errors.Is(err, layout.ErrNone) {
			return l, err
		}
	}
	return l, layout.ErrNone
}
