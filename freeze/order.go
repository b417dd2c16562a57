package freeze

import (
	"cmp"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/ioctl"
)

// order is the order of [Table.Plan].
func order(plan Plan, backs map[ioctl.DevNo][]ioctl.DevNo) Plan {
	sorted := slices.Clone(plan)
	slices.SortStableFunc(sorted, deeperFirst)
	return loopsFirst(sorted, backs)
}

// loopsFirst moves filesystems on loop devices before the filesystem that
// holds the file. backs[a] lists the superblocks that a's files lie on; the
// order among the rest stays.
func loopsFirst(plan Plan, backs map[ioctl.DevNo][]ioctl.DevNo) Plan {
	var out Plan
	rest := slices.Clone(plan)
	for len(rest) > 0 {
		i := max(0, slices.IndexFunc(rest, func(f Filesystem) bool { return !holdsFileOf(rest, f.DevNo, backs) }))
		out = append(out, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return out
}

// holdsFileOf says whether a filesystem still to be frozen has its loop file on
// super.
func holdsFileOf(rest Plan, super ioctl.DevNo, backs map[ioctl.DevNo][]ioctl.DevNo) bool {
	return slices.ContainsFunc(rest, func(f Filesystem) bool {
		return f.DevNo != super && slices.Contains(backs[f.DevNo], super)
	})
}

// better orders the mounts of one superblock: our own namespace first, whole
// filesystems before bind mounts of a part (which may be a single file), short
// paths before long ones.
func better(a, b Mount) int {
	return cmp.Or(
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(len(a.Root), len(b.Root)),
		cmp.Compare(len(a.Path), len(b.Path)),
		cmp.Compare(a.Path, b.Path),
	)
}

func deeperFirst(a, b Filesystem) int {
	return cmp.Or(
		cmp.Compare(depth(b.Mountpoint()), depth(a.Mountpoint())),
		cmp.Compare(a.Mountpoint(), b.Mountpoint()),
		cmp.Compare(a.DevNo.Major, b.DevNo.Major),
		cmp.Compare(a.DevNo.Minor, b.DevNo.Minor),
	)
}

// depth of "/" is 0, of "/a/b" 2.
func depth(path string) int {
	if path == "/" {
		return 0
	}
	return strings.Count(path, "/")
}
