package store

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
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
	if s.Beneath, err = r.Beneath(dev); err != nil {
		return s, err
	}
	if err := d.apart(s, o, h.Ours); err != nil {
		return s, err
	}
	if g.ReadOnly {
		return s, plan.Refuse(plan.Usage, d.path, "use a device that can be written", "store %s is read-only", d.path)
	}
	return s, d.free(r, s, h.Force)
}

// apart refuses a store that is the origin, is one of ours, or stands on the
// origin: each copy would cause the next one.
func (d device) apart(s plan.Store, o plan.Origin, ours *stack.View) error {
	if s.Dev == o.Dev {
		return plan.Refuse(plan.Usage, d.path, "use another device", "store %s is the origin itself", d.path)
	}
	for mine := range ours.Devices() {
		if mine.Dev == s.Dev {
			return plan.Refuse(plan.Usage, d.path, "use a device that is not part of a set", "store %s is dmsnap's own %s device %s", d.path, mine.Role, mine.Name)
		}
		if mine.Role == plan.RoleStore && mine.On(s.Dev) {
			return plan.Refuse(plan.Busy, d.path, "remove that set, or use another device", "store %s already serves %s", d.path, mine.Name)
		}
	}
	if slices.Contains(s.Beneath, o.Dev) {
		return plan.Refuse(plan.Usage, d.path, "use a device beside or beneath the origin's", "store %s stands on the origin %s: copying a chunk would need another copy", d.path, o.Path)
	}
	return nil
}

// free refuses a store that carries something or that somebody claims. An
// exclusive open asks the kernel: mounts, swap, RAID members and other devices'
// parts are claimed.
func (d device) free(r *stack.Reader, s plan.Store, force bool) (err error) {
	if held, found, err := r.Suspended(s.Dev); err != nil {
		return err
	} else if found {
		return plan.Refuse(plan.Busy, d.path, "find out who suspended it; dmsetup resume ends it", "store %s cannot be read: %s is suspended", d.path, r.Node(held))
	}
	f, err := r.Kernel.Open(d.path, unix.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return &InUseError{Path: d.path, Dev: s.Dev}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if force {
		return nil
	}
	found, err := probe.Identify(f)
	if err != nil {
		return err
	}
	if found.Type != "" {
		return plan.Refuse(plan.Usage, d.path, "if nothing on it is needed, use --force-store", "store %s carries something: %s signature", d.path, found.Type)
	}
	return nil
}
