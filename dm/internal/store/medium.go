package store

import (
	"fmt"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// unfit tells why auto does not choose a filesystem by itself, "" if it may. The
// first write to each chunk of the origin waits for the store: one that hangs or is
// slow is production's hang. What the origin stands on itself is no further risk.
func (h *Host) unfit(fs filesystem, o plan.Origin) (string, error) {
	own, err := h.disks(o.Dev)
	if err != nil {
		return "", err
	}
	disks, err := h.disks(fs.devices...)
	if err != nil {
		return "", err
	}
	slow := slices.ContainsFunc(own, func(d stack.Disk) bool { return d.Slow })
	for _, d := range disks {
		if slices.ContainsFunc(own, func(mine stack.Disk) bool { return mine.Name == d.Name }) {
			continue
		}
		switch {
		case d.Removable:
			return d.Name + " is removable", nil
		case d.USB:
			return d.Name + " is attached by USB", nil
		case d.Remote:
			return d.Name + " is on the network", nil
		case d.Timeout != nil && *d.Timeout == 0:
			return d.Name + " has no I/O timeout", nil
		case d.Slow && !slow:
			return d.Name + " is a rotating disk, unlike the origin's", nil
		}
	}
	return "", nil
}

func (h *Host) disks(devices ...targets.DevNo) (all []stack.Disk, err error) {
	for _, d := range devices {
		disks, err := h.Read.Disks(d)
		if err != nil {
			return nil, err
		}
		all = append(all, disks...)
	}
	return all, nil
}

// Waits are the disks that writes to a store wait for, with what their drivers say
// of requests that hang. Memory has none.
func (h *Host) Waits(s plan.Store) ([]plan.Disk, error) {
	if s.Backing == plan.Memory {
		return nil, nil
	}
	disks, err := h.disks(s.Dev)
	var out []plan.Disk
	for _, d := range disks {
		out = append(out, plan.Disk{Name: d.Name, Timeout: d.Timeout})
	}
	return out, err
}

// passedOver names a filesystem that auto does not choose.
func passedOver(fs filesystem, why string) string { return fmt.Sprintf("%s (%s)", fs.Path, why) }
