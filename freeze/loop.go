package freeze

import (
	"path"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/ioctl"
)

// backing finds, for each filesystem of a plan, the superblocks that files of
// loop devices beneath it lie on.
func (t *Table) backing(plan Plan) map[ioctl.DevNo][]ioctl.DevNo {
	backs := map[ioctl.DevNo][]ioctl.DevNo{}
	for _, f := range plan {
		seen := map[ioctl.DevNo]bool{}
		for _, dev := range f.Devices {
			for _, file := range t.loopFiles(dev, seen) {
				if super, ok := t.superOf(file); ok {
					backs[f.DevNo] = append(backs[f.DevNo], super)
				}
			}
		}
	}
	return backs
}

// loopFiles walks from a device down through partitions and slaves in sysfs and
// collects the files of the loop devices it meets.
func (t *Table) loopFiles(dev ioctl.DevNo, seen map[ioctl.DevNo]bool) []string {
	if seen[dev] {
		return nil
	}
	seen[dev] = true
	dir := "/sys/dev/block/" + dev.String()
	if file, err := t.k.ReadFile(dir + "/loop/backing_file"); err == nil {
		return []string{strings.TrimSuffix(string(file), "\n")}
	}
	var files []string
	for _, below := range t.below(dir) {
		files = append(files, t.loopFiles(below, seen)...)
	}
	return files
}

// below are the devices that one is made of: its disk if it is a partition, its
// slaves if it is stacked.
func (t *Table) below(dir string) []ioctl.DevNo {
	if _, err := t.k.Stat(dir + "/partition"); err == nil {
		link, err := t.k.Readlink(dir)
		disk, ok := t.sysfsNumber(path.Join("/sys/class/block", path.Base(path.Dir(link))))
		if err == nil && ok {
			return []ioctl.DevNo{disk}
		}
	}
	var devices []ioctl.DevNo
	names, err := t.k.ReadDir(dir + "/slaves")
	if err != nil {
		return nil // gone, or not stacked
	}
	for _, name := range names {
		if dev, ok := t.sysfsNumber(path.Join("/sys/class/block", name)); ok {
			devices = append(devices, dev)
		}
	}
	return devices
}

// superOf finds the superblock a file lies on: by its number, and where that is
// no superblock's (deleted files, subvolumes of btrfs) by the mount above it.
// A file of a foreign namespace may be missed; only the order depends on it.
func (t *Table) superOf(file string) (ioctl.DevNo, bool) {
	if st, err := t.k.Stat(file); err == nil {
		if slices.ContainsFunc(t.mounts, func(m Mount) bool { return m.DevNo == st.Dev }) {
			return st.Dev, true
		}
	}
	var best Mount
	for _, m := range t.mounts {
		// of mounts on one path the last one covers the others
		if m.PID == 0 && within(file, m.Path) && len(m.Path) >= len(best.Path) {
			best = m
		}
	}
	return best.DevNo, best.Path != ""
}

func within(file, dir string) bool {
	return strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/")
}
