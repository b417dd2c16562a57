package freeze

import (
	"slices"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Table is what was mounted on the host when it was read, in all mount
// namespaces that can be seen. It is not changed after Mounts; methods may be
// called concurrently.
type Table struct {
	k        *ioctl.Kernel
	own      string // our mount namespace
	mounts   []Mount
	members  map[ioctl.DevNo][]ioctl.DevNo // devices of anonymous superblocks
	problems []Problem
}

// OwnMounts reads the mounts of our own mount namespace only, which takes a few
// system calls however large the host is. Otherwise it is as [Mounts].
func OwnMounts(k *ioctl.Kernel) (*Table, error) { return mounts(k, false) }

// Mounts reads the mounts of every mount namespace: our own and, through /proc,
// one view per namespace and root directory. It takes a few system calls per
// thread of the host and does not block on any filesystem but /proc and /sys,
// except for a stat of the sources of btrfs and bcachefs mounts. What could not
// be found out is in Problems; an error means that nothing is known.
//
// The table is no lock: mounts may come and go the moment it is read.
func Mounts(k *ioctl.Kernel) (*Table, error) { return mounts(k, true) }

func mounts(k *ioctl.Kernel, all bool) (*Table, error) {
	t := &Table{k: k, members: map[ioctl.DevNo][]ioctl.DevNo{}}
	w := &walker{k: k, table: t, views: map[view]bool{}, seen: map[mountKey]bool{}}
	if err := w.own(); err != nil {
		return nil, err
	}
	if all {
		if err := w.others(); err != nil {
			return nil, err
		}
		w.unseen()
	}
	t.resolve()
	return t, nil
}

// All returns every mount, our own namespace first, in the kernel's order.
func (t *Table) All() []Mount { return slices.Clone(t.mounts) }

// Problems returns what could not be found out.
func (t *Table) Problems() []Problem { return slices.Clone(t.problems) }

func (t *Table) problem(p Problem) { t.problems = append(t.problems, p) }

// Of returns the mounts whose filesystem lives on the device, bind mounts and
// foreign namespaces included, best to open first. Devices are matched by
// number; a btrfs matches each of its member devices.
func (t *Table) Of(dev ioctl.DevNo) []Mount {
	var mounts []Mount
	for _, m := range t.mounts {
		if slices.Contains(t.Devices(m), dev) {
			mounts = append(mounts, m)
		}
	}
	slices.SortStableFunc(mounts, better)
	return mounts
}

// Devices are the block devices a mount's filesystem lives on: one for most
// types, all members for btrfs. It is empty where the filesystem has no block
// device, or does not tell (see Problems).
func (t *Table) Devices(m Mount) []ioctl.DevNo {
	if m.DevNo.Major != 0 {
		return []ioctl.DevNo{m.DevNo}
	}
	return slices.Clone(t.members[m.DevNo])
}
