package dm

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// facts are what a create is planned from.
type facts struct {
	request plan.CreateRequest
	ours    *stack.View
	mounts  mounts
	// above are the devices that stand on each origin, itself first.
	above map[targets.DevNo][]targets.DevNo
	// systems are the filesystems of the set in the order of their freeze; their
	// index is their key.
	systems  freeze.Plan
	freezers map[int]run.Freezer
	handles  map[int]*freeze.Handle
	opened   *freeze.Set
	doubts   []Doubt         // found at the last look before the window
	atRest   []targets.DevNo // those that nobody used then
}

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
	f.request = request(r, id)
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
	if !f.request.Crash {
		f.systems = f.mounts.Plan(f.devices()...)
		f.assign()
	}
	return f, nil
}

// request is what a plan takes from the request itself.
func request(r CreateRequest, id string) plan.CreateRequest {
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
	if v.Chunk, err = r.chunk(x.policy(r.Policy, f.mounts, v.Origin)); err != nil {
		return v, err
	}
	v.Found, err = x.lookalike(v.Origin, above)
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
	if err := notDirect(x.read, o, f.above[dev], f.mounts); err != nil {
		return o, err
	}
	return o, plan.CheckOrigin(o)
}

// devices are all on which a filesystem of the set may live: the fronts, and
// what stands on them.
func (f *facts) devices() []freeze.Device {
	var out []freeze.Device
	for _, v := range f.request.Volumes {
		for _, d := range f.above[v.Origin.Dev] {
			out = append(out, freeze.Device{DevNo: d, Front: d == v.Origin.Dev && v.Origin.Plain == nil})
		}
	}
	return out
}

// assign gives each volume its filesystems.
func (f *facts) assign() {
	for i := range f.request.Volumes {
		o := &f.request.Volumes[i].Origin
		o.Filesystems = nil
		for key, fs := range f.systems {
			if slices.ContainsFunc(f.above[o.Dev], func(d targets.DevNo) bool { return fs.Uses(d) }) {
				o.Filesystems = append(o.Filesystems, planFilesystem(key, fs, o.Name))
			}
		}
	}
}

func planFilesystem(key int, fs freeze.Filesystem, front string) plan.Filesystem {
	method := map[freeze.Method]plan.Method{freeze.Freeze: plan.ByFIFREEZE, freeze.LockFS: plan.ByLockFS}[fs.Method]
	if method == "" {
		method = plan.ByNothing
	}
	p := plan.Filesystem{Type: fs.FSType, Method: method, Reason: fs.Reason, Front: front, Key: key, Waits: fs.Waits}
	for _, m := range fs.Mounts {
		if !slices.Contains(p.Mountpoints, m.Path) {
			p.Mountpoints = append(p.Mountpoints, m.Path)
		}
	}
	return p
}

// checkFreezable refuses filesystems that cannot be frozen, or that write to devices
// outside the set: their images would not show one instant.
func (x *examiner) checkFreezable(f *facts) error {
	for _, fs := range f.systems {
		if fs.Method == freeze.None {
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

var errUnfreezable = errors.New("cannot be frozen")

func (f *facts) inSet(d targets.DevNo) bool {
	for _, v := range f.request.Volumes {
		if slices.Contains(f.above[v.Origin.Dev], d) {
			return true
		}
	}
	return false
}

// openFilesystems opens what the window will freeze. A filesystem of a type unknown to
// dmsnap is frozen once to try it, which may change its method.
func (f *facts) openFilesystems(k *ioctl.Kernel) error {
	f.freezers, f.handles = map[int]run.Freezer{}, map[int]*freeze.Handle{}
	if len(f.systems) == 0 {
		return nil
	}
	var err error
	if f.opened, err = freeze.Open(k, f.systems); err != nil {
		return err
	}
	f.systems = f.opened.Plan()
	for _, h := range f.opened.Handles() {
		key := slices.IndexFunc(f.systems, func(fs freeze.Filesystem) bool { return fs.DevNo == h.Filesystem().DevNo })
		f.freezers[key], f.handles[key] = h, h
	}
	f.assign()
	return f.syncLockFS(k)
}

// syncLockFS writes out what the suspend itself will freeze: those filesystems
// have no handle, and what is dirty would be written inside the window.
func (f *facts) syncLockFS(k *ioctl.Kernel) error {
	for _, fs := range f.opened.Left() {
		if fs.Method != freeze.LockFS {
			continue
		}
		dir, err := k.Open(fs.Mounts[0].Reach, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(dir.SyncFS(), dir.Close()); err != nil {
			return err
		}
	}
	return nil
}

// closeFilesystems closes the mount descriptors, which would keep filesystems from
// being unmounted. After a failed undo it closes only those that are not frozen:
// closing a frozen one thaws it, and that hangs above a device that could not be
// resumed. The kernel closes those with the process; recover thaws them.
func (f *facts) closeFilesystems(err error) error {
	if f.opened == nil {
		return nil
	}
	end := f.opened.Close
	if _, stuck := errors.AsType[*run.UndoError](err); stuck {
		end = f.opened.CloseIdle
	}
	return end()
}

// mountpoints are where an origin's filesystems are mounted, the one on the
// origin itself first.
func (f *facts) mountpoints(dev targets.DevNo) []string {
	out := []string{}
	for _, d := range f.above[dev] {
		for _, m := range f.mounts.Of(d) {
			if !slices.Contains(out, m.Path) {
				out = append(out, m.Path)
			}
		}
	}
	return out
}

// fstype is the filesystem mounted on the origin itself, if any.
func (f *facts) fstype(dev targets.DevNo) string {
	for _, m := range f.mounts.Of(dev) {
		return m.FSType
	}
	return ""
}
