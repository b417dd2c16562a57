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

// loopsFirst puts filesystems on loop devices right before the filesystem that
// holds the file, where they are not before it already. backs[a] lists the
// superblocks that a's files lie on; a ring, which no kernel builds, ends.
func loopsFirst(plan Plan, backs map[ioctl.DevNo][]ioctl.DevNo) Plan {
	var out Plan
	done := map[ioctl.DevNo]bool{}
	var visit func(f Filesystem)
	visit = func(f Filesystem) {
		if done[f.DevNo] {
			return
		}
		done[f.DevNo] = true
		for _, other := range plan {
			if slices.Contains(backs[other.DevNo], f.DevNo) {
				f.Waits = true
				visit(other)
			}
		}
		out = append(out, f)
	}
	for _, f := range plan {
		visit(f)
	}
	return out
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
