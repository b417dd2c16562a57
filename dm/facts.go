package dm

import (
	"errors"
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
	allowed  []targets.DevNo // of CreateRequest.AllowUnproven
	doubts   []doubt         // found at the last look before the window
	atRest   []targets.DevNo // those that were unused then
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
