package stack

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

func sysBlock(d targets.DevNo) string { return "/sys/dev/block/" + d.String() }

// attr reads a one-line file of sysfs; a missing one is empty.
func (r *Reader) attr(name string) (string, error) {
	b, err := r.Kernel.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// diskAttr reads an attribute of a disk, for a partition its disk's.
func (r *Reader) diskAttr(d targets.DevNo, name string) (string, error) {
	if text, err := r.attr(path.Join(sysBlock(d), name)); text != "" || err != nil {
		return text, err
	}
	if part, err := r.attr(sysBlock(d) + "/partition"); part == "" || err != nil {
		return "", err
	}
	return r.attr(sysBlock(d) + "/../" + name) // the entry is a link
}

// AtomicWrites is the largest write that a device promises not to tear, 0 if it
// promises nothing, and the size of its sectors.
func (r *Reader) AtomicWrites(d targets.DevNo) (unit, sector uint64, err error) {
	for name, value := range map[string]*uint64{"atomic_write_unit_max_bytes": &unit, "logical_block_size": &sector} {
		text, err := r.diskAttr(d, "queue/"+name)
		if err != nil {
			return 0, 0, err
		}
		if text == "" { // a kernel that knows no atomic writes
			continue
		}
		if *value, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, 0, err
		}
	}
	return unit, sector, nil
}

// Whole is the disk that a partition is one of.
func (r *Reader) Whole(d targets.DevNo) (disk targets.DevNo, partition bool, err error) {
	if part, err := r.attr(sysBlock(d) + "/partition"); part == "" || err != nil {
		return disk, false, err
	}
	text, err := r.attr(sysBlock(d) + "/../dev") // the entry is a link
	if text == "" || err != nil {
		return disk, false, err
	}
	disk, err = targets.ParseDevNo(text)
	return disk, err == nil, err
}

// links reads a directory of sysfs whose entries are block devices.
func (r *Reader) links(dir string) ([]targets.DevNo, error) {
	names, err := r.Kernel.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []targets.DevNo
	for _, name := range names {
		text, err := r.attr(path.Join(dir, name, "dev"))
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue // gone since
		}
		d, err := targets.ParseDevNo(text)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func (r *Reader) holderDevices(d targets.DevNo) ([]targets.DevNo, error) {
	return r.links(sysBlock(d) + "/holders")
}

// mappedHolders are the mapped devices that stand directly on a mapped one. Their
// names in sysfs hold their numbers (drivers/md/dm.c, alloc_dev: "dm-%d").
func (r *Reader) mappedHolders(d targets.DevNo) ([]targets.DevNo, error) {
	names, err := r.Kernel.ReadDir(sysBlock(d) + "/holders")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []targets.DevNo
	for _, name := range names {
		number, mapped := strings.CutPrefix(name, "dm-")
		minor, bad := strconv.ParseUint(number, 10, 32)
		if mapped && bad == nil {
			out = append(out, targets.DevNo{Major: d.Major, Minor: uint32(minor)})
		}
	}
	return out, err
}

// Above is a device and all that stands on it, as the kernel links holders.
// Images stand on the base, not on the front, so they are not among them.
func (r *Reader) Above(d targets.DevNo) ([]targets.DevNo, error) { return r.closure(d, "/holders") }

// Beneath is a device and all it stands on.
func (r *Reader) Beneath(d targets.DevNo) ([]targets.DevNo, error) { return r.closure(d, "/slaves") }

// Role is what a device of ours is for, "" of one that is not ours.
func (r *Reader) Role(d targets.DevNo) (plan.Role, error) {
	uuid, err := r.attr(sysBlock(d) + "/dm/uuid")
	_, _, role, _ := plan.ParseUUID(uuid)
	return role, err
}

// Suspended finds a suspended device at or beneath a device: reading the device
// would not return before that one is resumed.
func (r *Reader) Suspended(d targets.DevNo) (which targets.DevNo, found bool, err error) {
	beneath, err := r.Beneath(d)
	if err != nil {
		return targets.DevNo{}, false, err
	}
	for _, b := range beneath {
		state, err := r.attr(sysBlock(b) + "/dm/suspended")
		if err != nil || state == "1" {
			return b, err == nil, err
		}
	}
	return targets.DevNo{}, false, nil
}

// DirectAccess tells whether a device is memory that programs can map (DAX).
func (r *Reader) DirectAccess(d targets.DevNo) (bool, error) {
	able, err := r.diskAttr(d, "queue/dax")
	return able == "1", err
}

// Statistics is a device's stat file, empty if it has none.
func (r *Reader) Statistics(d targets.DevNo) (string, error) { return r.attr(sysBlock(d) + "/stat") }

func (r *Reader) closure(d targets.DevNo, dir string) ([]targets.DevNo, error) {
	out := []targets.DevNo{d}
	for i := 0; i < len(out); i++ {
		next, err := r.links(sysBlock(out[i]) + dir)
		if err != nil {
			return nil, err
		}
		for _, n := range next {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// depth is the length of the longest way down.
func (r *Reader) depth(d targets.DevNo) (int, error) {
	slaves, err := r.links(sysBlock(d) + "/slaves")
	if err != nil {
		return 0, err
	}
	deepest := 0
	for _, s := range slaves {
		n, err := r.depth(s)
		if err != nil {
			return 0, err
		}
		deepest = max(deepest, n+1)
	}
	return deepest, nil
}

// Node is the path users know a device by: its name in /dev/mapper, unless that
// node is missing or another device's, as with names that udev writes mangled.
func (r *Reader) Node(d targets.DevNo) string {
	if name, err := r.attr(sysBlock(d) + "/dm/name"); err == nil && name != "" {
		node := "/dev/mapper/" + name
		if st, err := r.Kernel.Stat(node); err == nil && st.Rdev == d {
			return node
		}
	}
	if link, err := r.Kernel.Readlink(sysBlock(d)); err == nil {
		return "/dev/" + path.Base(link)
	}
	return d.String()
}
