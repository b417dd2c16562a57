package store

import (
	"cmp"
	"path"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Common is what two lists of ranges have in common. Both must be in order.
func Common(a, b []ioctl.Range) (both []ioctl.Range) {
	for len(a) > 0 && len(b) > 0 {
		start := max(a[0].Start, b[0].Start)
		end := min(a[0].Start+a[0].Length, b[0].Start+b[0].Length)
		if start < end {
			both = append(both, ioctl.Range{Start: start, Length: end - start})
		}
		if a[0].Start+a[0].Length < b[0].Start+b[0].Length {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}

// Others are the parts of a file, from a byte of it on, that do not lie in any of
// some ranges of the device, in order.
func Others(f *ioctl.File, from uint64, in []ioctl.Range) (parts []ioctl.Range, err error) {
	extents, err := f.Extents(ioctl.FiemapSync)
	if err != nil {
		return nil, Unfit(err, f.Path())
	}
	for _, e := range extents {
		skip := min(e.Length, from-min(from, e.Logical))
		at, end := e.Physical+skip, e.Physical+e.Length
		first, _ := slices.BinarySearchFunc(in, at, func(r ioctl.Range, at uint64) int { return cmp.Compare(r.Start+r.Length, at) })
		for _, r := range in[first:] {
			if r.Start >= end {
				break
			}
			if r.Start > at {
				parts = append(parts, ioctl.Range{Start: e.Logical + at - e.Physical, Length: r.Start - at})
			}
			at = max(at, min(end, r.Start+r.Length))
		}
		if at < end {
			parts = append(parts, ioctl.Range{Start: e.Logical + at - e.Physical, Length: end - at})
		}
	}
	return parts, nil
}

// Further is a further file of a store beside the ones it has, in the directory of
// stores' files, but for how much it gets: at most half of what is free, since
// applications need some too. It has no room if another filesystem covers that one now.
func (h *Host) Further(file *plan.File, name string) (*plan.File, error) {
	fs, err := h.at(path.Dir(file.Path))
	if err != nil {
		return nil, err
	}
	next := &plan.File{
		Path: path.Join(fs.Path, name), Backing: file.Backing, Lead: layout.Lead, Dev: file.Dev,
		Over: file.Over, Way: file.Way, NoCOW: fs.FSType == "btrfs",
	}
	if len(fs.devices) > 0 && fs.devices[0] == file.Dev && fs.writable() {
		next.Room = min(h.room(fs).Bytes(), fs.avail/2/layout.Align*layout.Align)
	}
	return next, nil
}

// Memory is how much memory one more store may take.
func (h *Host) Memory() (targets.Sectors, error) {
	s, err := ram{}.Inspect(h, plan.Origin{})
	return s.Size, err
}
