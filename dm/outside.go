package dm

import (
	"errors"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/nsexec"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/targets"
)

// outside are the mount points below filesystems of the set that lead out of it: what is
// there is in no image. Filesystems that hold nobody's data are not named.
func (f *facts) outside() []string {
	var inside []string
	own := slices.DeleteFunc(f.mounts.All(), func(m freeze.Mount) bool { return m.PID != 0 })
	for _, m := range own {
		if f.holds(m) {
			inside = append(inside, m.Path)
		}
	}
	out := []string{}
	for _, m := range own {
		below := slices.ContainsFunc(inside, func(dir string) bool { return isBelow(m.Path, dir) })
		if below && !nsexec.Pseudo(m.FSType) && !unchanging(m.FSType) && !f.holds(m) && !f.showsImage(m) {
			out = append(out, m.Path)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// holds tells whether a mount's filesystem is in the set.
func (f *facts) holds(m freeze.Mount) bool { return slices.ContainsFunc(f.mounts.Devices(m), f.inSet) }

func (f *facts) showsImage(m freeze.Mount) bool {
	return slices.ContainsFunc(f.mounts.Devices(m), func(d targets.DevNo) bool { return f.ours.At(d) != nil && f.ours.At(d).Role.Member() })
}

// resolveAllowed are the devices of CreateRequest.AllowUnproven. A directory on which
// nothing is mounted at the moment has none.
func (x *examiner) resolveAllowed(specs []string, mounted mounts) (devices []targets.DevNo, err error) {
	for _, spec := range specs {
		dev, err := x.read.Resolve(spec, mounted)
		refused, known := errors.AsType[*plan.Refusal](err)
		switch {
		case err == nil:
			devices = append(devices, dev)
		case !known || refused.Kind != plan.Usage:
			return nil, err
		}
	}
	return devices, nil
}

// allows tells whether the request does without the proof that a filesystem is frozen.
func (f *facts) allows(fs freeze.Filesystem) bool { return slices.ContainsFunc(f.allowed, fs.Uses) }
