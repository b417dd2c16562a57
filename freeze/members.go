package freeze

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// resolve finds the block devices of filesystems whose superblock has an
// anonymous number, once per superblock.
func (t *Table) resolve() {
	var volumes [][]ioctl.DevNo
	done := map[ioctl.DevNo]bool{}
	for _, m := range t.mounts {
		if done[m.DevNo] || !spansDevices(m) {
			continue
		}
		if done[m.DevNo] = true; volumes == nil {
			volumes = t.btrfsVolumes()
		}
		t.members[m.DevNo] = t.membersOf(m.DevNo, volumes)
		if len(t.members[m.DevNo]) == 0 {
			t.problem(Problem{Kind: Unresolved, Namespace: m.Namespace, PID: m.PID, Text: m.Path})
		}
	}
}

func spansDevices(m Mount) bool {
	return m.DevNo.Major == 0 && (m.FSType == "btrfs" || m.FSType == "bcachefs")
}

// membersOf takes the source of any mount of the superblock that still names a
// block device, then all members of the btrfs volume it belongs to.
func (t *Table) membersOf(super ioctl.DevNo, volumes [][]ioctl.DevNo) []ioctl.DevNo {
	var members []ioctl.DevNo
	for _, m := range t.mounts {
		if m.DevNo != super {
			continue
		}
		for _, source := range sources(m) {
			dev, ok := t.blockDevice(m, source)
			if ok && !slices.Contains(members, dev) {
				members = append(members, dev)
			}
		}
	}
	for _, volume := range volumes {
		if slices.ContainsFunc(members, func(d ioctl.DevNo) bool { return slices.Contains(volume, d) }) {
			return volume
		}
	}
	return members
}

// sources of a mount: bcachefs shows all its members with colons between.
func sources(m Mount) []string {
	if m.FSType == "bcachefs" {
		return strings.Split(m.Source, ":")
	}
	return []string{m.Source}
}

// blockDevice finds the number behind a path that a mount tells of. The path
// is one of the process that mounted, mostly a process of the host: our own
// namespace is asked first, then the mount's, then the kernel's name.
func (t *Table) blockDevice(m Mount, source string) (ioctl.DevNo, bool) {
	if !strings.HasPrefix(source, "/") {
		return ioctl.DevNo{}, false
	}
	for _, p := range []string{source, reach(m.PID, source)} {
		if st, err := t.k.Stat(p); err == nil && st.Is(unix.S_IFBLK) {
			return st.Rdev, true
		}
	}
	if path.Dir(source) != "/dev" {
		return ioctl.DevNo{}, false
	}
	return t.sysfsNumber(path.Join("/sys/class/block", path.Base(source)))
}

// sysfsNumber reads the number of the device behind a directory of sysfs.
func (t *Table) sysfsNumber(dir string) (ioctl.DevNo, bool) {
	text, err := t.k.ReadFile(dir + "/dev")
	if err != nil {
		return ioctl.DevNo{}, false
	}
	dev, err := ioctl.ParseDevNo(strings.TrimSpace(string(text)))
	return dev, err == nil
}

// btrfsVolumes are the members of each mounted btrfs as the kernel knows them
// (/sys/fs/btrfs/<uuid>/devices/<name>, links to the block devices).
func (t *Table) btrfsVolumes() [][]ioctl.DevNo {
	volumes := [][]ioctl.DevNo{}
	uuids, err := t.k.ReadDir("/sys/fs/btrfs")
	if err != nil {
		return volumes // no btrfs module, or a kernel without sysfs for it
	}
	for _, uuid := range uuids {
		dir := path.Join("/sys/fs/btrfs", uuid, "devices")
		names, err := t.k.ReadDir(dir)
		if err != nil {
			continue // "features" and other entries that are no volume
		}
		var members []ioctl.DevNo
		for _, name := range names {
			if dev, ok := t.sysfsNumber(path.Join(dir, name)); ok {
				members = append(members, dev)
			}
		}
		volumes = append(volumes, members)
	}
	return volumes
}
