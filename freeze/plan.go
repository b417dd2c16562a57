package freeze

import (
	"slices"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Device is one device whose filesystems must hold still.
type Device struct {
	DevNo ioctl.DevNo
	// Front: this very device will be suspended by the device-mapper, so its
	// lockfs can freeze what is mounted directly on it.
	Front bool
}

// Filesystem is one superblock with all its mounts.
type Filesystem struct {
	DevNo    ioctl.DevNo // of the superblock
	FSType   string
	Devices  []ioctl.DevNo // where it lives; several for btrfs: all must be cut at one instant
	Extra    []Extra       // external journals and logs
	Mounts   []Mount       // best to open first
	ReadOnly bool          // the superblock is
	Direct   bool          // mounted directly on a front
	Waits    bool          // it holds files of loop devices of those before it in the plan
	Method   Method
	Trial    bool   // Method is a guess: [Open] tries it before the window
	Reason   string // why Method is None
}

// Mountpoint is the path of the best mount, as its namespace sees it.
func (f Filesystem) Mountpoint() string {
	if len(f.Mounts) == 0 {
		return ""
	}
	return f.Mounts[0].Path
}

// Uses says whether the filesystem writes to a device, extras included.
func (f Filesystem) Uses(dev ioctl.DevNo) bool {
	return slices.Contains(f.Devices, dev) ||
		slices.ContainsFunc(f.Extra, func(e Extra) bool { return e.DevNo == dev })
}

// Plan is filesystems in the order in which they are frozen; the thaw goes
// backwards. Neighbours may be frozen at the same time unless the second waits.
type Plan []Filesystem

// Plan groups the mounts on the devices by superblock, gives each a method and
// orders them:
//
//  1. a filesystem on a loop device comes before the one that holds the loop
//     device's file, since writing it out writes that file;
//  2. then deeper mount points before the ones above them, "/" last;
//  3. then by path and by device number.
//
// It reads sysfs for loop devices and external journals.
func (t *Table) Plan(devices ...Device) Plan {
	var plan Plan
	for _, f := range t.filesystems() {
		if f.on(devices) {
			f.Extra = t.extras(f.Mounts[0])
			f.Method, f.Reason = choose(f.FSType, f.ReadOnly, f.Direct)
			f.Trial = abilityOf(f.FSType) == unknown
			plan = append(plan, f)
		}
	}
	return order(plan, t.backing(plan))
}

// filesystems groups all mounts by superblock: those that live on devices.
func (t *Table) filesystems() []Filesystem {
	var list []Filesystem
	index := map[ioctl.DevNo]int{}
	for _, m := range t.mounts {
		devices := t.Devices(m)
		if len(devices) == 0 {
			continue
		}
		i, ok := index[m.DevNo]
		if !ok {
			i = len(list)
			index[m.DevNo] = i
			list = append(list, Filesystem{DevNo: m.DevNo, FSType: m.FSType, Devices: devices, ReadOnly: m.readOnly()})
		}
		list[i].Mounts = append(list[i].Mounts, m)
	}
	for _, f := range list {
		slices.SortStableFunc(f.Mounts, better)
	}
	return list
}

// on says whether the filesystem lives on one of the devices and notes whether
// that is a front that carries the superblock itself.
func (f *Filesystem) on(devices []Device) bool {
	found := false
	for _, d := range devices {
		found = found || slices.Contains(f.Devices, d.DevNo)
		f.Direct = f.Direct || d.Front && d.DevNo == f.DevNo
	}
	return found
}
