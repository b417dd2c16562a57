package dm

import (
	"path"

	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
)

// mounts adds lookup by mount point to the table of mounts.
type mounts struct{ *freeze.Table }

// allMounts are those of all namespaces.
func allMounts(k *ioctl.Kernel) (mounts, error) {
	t, err := freeze.Mounts(k)
	return mounts{t}, err
}

// ownMounts are enough to look up a path, or to tell where an image is mounted.
func ownMounts(k *ioctl.Kernel) (mounts, error) {
	t, err := freeze.OwnMounts(k)
	return mounts{t}, err
}

// At finds the device mounted on a path of our namespace; of several mounts on
// one path the last hides the others.
func (t mounts) At(p string) (dev ioctl.DevNo, found bool) {
	for _, m := range t.All() {
		if m.PID != 0 || path.Clean(m.Path) != p {
			continue
		}
		devices := t.Devices(m)
		if found = len(devices) > 0; found {
			dev = devices[0]
		}
	}
	return dev, found
}

// byDevice are the paths at which devices are mounted in our namespace. Those of
// other namespaces are not ours to unmount.
func (t mounts) byDevice() map[ioctl.DevNo][]string {
	paths := map[ioctl.DevNo][]string{}
	for _, m := range t.All() {
		if m.PID != 0 {
			continue
		}
		for _, d := range t.Devices(m) {
			paths[d] = append(paths[d], m.Path)
		}
	}
	return paths
}
