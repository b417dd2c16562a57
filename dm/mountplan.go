package dm

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/ioctl"
)

// mountPlan decides what goes where, outer mount points first, before anything
// is mounted.
func mountPlan(k *ioctl.Kernel, set *Set, r MountRequest) ([]Mounted, error) {
	var out []Mounted
	for _, v := range set.Volumes {
		m, err := mountOptions(k, v)
		if err != nil {
			return nil, err
		}
		m.Path = r.place(v, len(set.Volumes))
		m.Options = flagText(r.flags()) + strings.TrimPrefix(m.Options, "ro")
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Mounted) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(out); i++ {
		if out[i].Path == out[i-1].Path {
			return nil, plan.Refuse(plan.Usage, out[i].Path, "mount the devices by hand", "%s and %s would both be mounted on %s", out[i-1].Volume, out[i].Volume, out[i].Path)
		}
	}
	return out, nil
}

// mountDirOf is a volume's place among several.
func mountDirOf(v Volume) string {
	if len(v.Mountpoints) > 0 {
		return v.Mountpoints[0]
	}
	return v.Name
}

func mountOptions(k *ioctl.Kernel, v Volume) (Mounted, error) {
	m := Mounted{Volume: v.Name, Device: v.Device}
	if !v.readable() {
		return m, unusableError(v)
	}
	node, err := v.imageNode()
	if err != nil {
		return m, err
	}
	f, err := k.Open(node, unix.O_RDONLY, 0)
	if err != nil {
		return m, err
	}
	found, err := probe.Identify(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return m, err
	}
	if v.FSType != "" { // the kernel's own name for it, where it was mounted
		found.Type, found.Filesystem = v.FSType, true
	}
	m.FSType = found.Type
	m.Options, err = besideTwin(v, found)
	return m, err
}

// besideTwin are the mount options with which an image can be mounted while its
// origin is.
func besideTwin(v Volume, found probe.Found) (string, error) {
	switch found.Type {
	case "xfs":
		// Its log is dirty on purpose even when frozen, and cannot be replayed on
		// a read-only device; its UUID is the origin's.
		return "ro,nouuid,norecovery", nil
	case "ext2", "ext3", "ext4":
		// The superblock may say panic: right for the origin, and not for an image
		// whose store overflows.
		if found.NeedsRecovery && !v.Writable {
			return "ro,noload,errors=continue", nil
		}
		return "ro,errors=continue", nil
	case "f2fs", "nilfs2":
		return "ro,norecovery", nil
	case "btrfs":
		return "", plan.Refuse(plan.Unsupported, v.Device, "read it on a host without the origin, or with btrfs restore",
			"%s holds a btrfs, and the kernel takes two devices with the same btrfs UUID for one filesystem", v.Device)
	}
	if !found.Filesystem {
		what := "no known filesystem"
		if found.Type != "" {
			what = "a " + found.Type + ", not a filesystem"
		}
		return "", plan.Refuse(plan.Unsupported, v.Device, "use the device itself", "%s holds %s", v.Device, what)
	}
	return "ro", nil
}
