package dm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/targets"
)

// gather looks up all a plan needs, and changes nothing.
func (x *examiner) gather(r CreateRequest, id string) (*facts, error) {
	f := &facts{above: map[targets.DevNo][]targets.DevNo{}}
	release, err := x.kernel.Release()
	if err != nil {
		return nil, err
	}
	if err := plan.CheckRelease(release); err != nil {
		return nil, err
	}
	if f.mounts, err = allMounts(x.kernel); err != nil {
		return nil, err
	}
	if f.ours, err = x.read.Look(); err != nil {
		return nil, err
	}
	f.request = planRequest(r, id)
	for _, origin := range r.Origins {
		v, err := x.gatherVolume(f, r, origin)
		if err != nil {
			return nil, err
		}
		f.request.Volumes = append(f.request.Volumes, v)
	}
	if err := x.gatherStores(f, r); err != nil {
		return nil, err
	}
	if f.request.Hooks, err = x.findHooks(r); err != nil {
		return nil, err
	}
	if f.allowed, err = x.resolveAllowed(r.AllowUnproven, f.mounts); err != nil {
		return nil, err
	}
	if !f.request.Crash {
		f.systems = f.mounts.Plan(f.devices()...)
		f.assign()
	}
	return f, nil
}

// planRequest is what a plan takes from the request itself.
func planRequest(r CreateRequest, id string) plan.CreateRequest {
	mode := targets.Transient
	if r.Persistent {
		mode = targets.PersistentOverflow
	}
	return plan.CreateRequest{
		Set: r.Name, ID: id, Mode: mode,
		Writable: r.Writable, Crash: r.Consistency == Crash, Apart: r.Transient || r.Lease != Lease{},
	}
}

func (x *examiner) gatherVolume(f *facts, r CreateRequest, spec string) (plan.VolumeRequest, error) {
	var v plan.VolumeRequest
	var err error
	if v.Origin, err = x.findOrigin(f, spec); err != nil {
		return v, err
	}
	above := f.above[v.Origin.Dev]
	x.warnLVM(v.Origin, above)
	v.BaseID = newID()
	if r.StableNumbers {
		v.Minor = plan.StableMinor(v.Origin)
	}
	if !r.StoreSize.IsZero() { // however small a share: zero would mean "not given"
		v.StoreSize = max(1, targets.Sectors(r.StoreSize.Of(v.Origin.Size.Bytes())/512))
	}
	if v.Chunk, err = r.chunk(x.policyFor(r.Policy, f.mounts, v.Origin)); err != nil {
		return v, err
	}
	v.Found, err = x.lookalikeReason(v.Origin, above)
	return v, err
}

// findOrigin is the one way from what a user named to an origin that can be cut. It
// notes what stands on it, also of one that it refuses: before its store is looked at,
// since that is worth more words.
func (x *examiner) findOrigin(f *facts, spec string) (plan.Origin, error) {
	dev, err := x.read.Resolve(spec, f.mounts)
	if err != nil {
		return plan.Origin{}, err
	}
	o, err := x.read.Origin(spec, dev, f.ours)
	if err != nil {
		return o, err
	}
	if f.above[dev], err = x.read.Above(dev); err != nil {
		return o, err
	}
	if err := checkNoDAX(x.read, o, f.above[dev], f.mounts); err != nil {
		return o, err
	}
	return o, plan.CheckOrigin(o)
}

// checkNoDAX refuses an origin whose filesystem lets programs store past the block
// layer (DAX): what they write to mapped pages is never copied, and with a table
// that cannot serve it the kernel answers them with SIGBUS.
func checkNoDAX(read *stack.Reader, o plan.Origin, above []targets.DevNo, mounted mounts) error {
	for _, d := range above {
		if able, err := read.DirectAccess(d); err != nil || !able {
			return err
		}
		for _, m := range mounted.Of(d) {
			if m.DirectAccess() {
				return plan.Refuse(plan.Unsupported, o.Path, "mount it without -o dax; ext4 and xfs need -o dax=never on such a device",
					"%s on %s may use DAX: its writes bypass device-mapper", m.FSType, m.Path)
			}
		}
	}
	return nil
}

// checkFreezable refuses filesystems that cannot be frozen, or that write to devices
// outside the set: their images would not show one instant.
func (x *examiner) checkFreezable(f *facts) error {
	for _, fs := range f.systems {
		if fs.Method == freeze.None && !f.allows(fs) {
			return fmt.Errorf("%s on %s: %w: %s", fs.FSType, fs.Mountpoint(), errUnfreezable, fs.Reason)
		}
		devices := slices.Clone(fs.Devices)
		for _, x := range fs.Extra {
			devices = append(devices, x.DevNo)
		}
		for _, d := range devices {
			if !f.inSet(d) {
				return plan.Refuse(plan.Unsupported, fs.Mountpoint(), "name that device as an origin too, or use --consistency crash",
					"%s on %s also lives on %s, which is not part of the set", fs.FSType, fs.Mountpoint(), x.read.Node(d))
			}
		}
	}
	return nil
}

// chunk is the unit of copying of a volume: what the request says, else the
// policy. Zero if neither does.
func (r CreateRequest) chunk(p OriginPolicy) (targets.Sectors, error) {
	bytes := cmp.Or(r.ChunkBytes, p.ChunkBytes)
	if bytes%targets.SectorSize != 0 {
		return 0, plan.Refuse(plan.Usage, "", "use a power of two between 4k and 1g", "chunk size %d is not a multiple of the sector size", bytes)
	}
	return targets.Sectors(bytes / targets.SectorSize), nil
}
