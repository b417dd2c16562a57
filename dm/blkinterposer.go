package dm

import (
	"errors"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// interposeFlag is DM_INTERPOSE_FLAG of the block device interposer that was
// published in 2021 (v8 and v9 of the series) and never merged. In mainline the
// bit means something else (DM_IMA_MEASUREMENT_FLAG), and every kernel echoes it.
const interposeFlag ioctl.RawFlags = 1 << 19

// probeSize is enough for a device that only has to be there.
const probeSize targets.Sectors = 8

// blkInterposerProblems says of a kernel with that interposer why it is not
// enough: one device may take another in, and origin and image would both have to.
func (s *session) blkInterposerProblems() []Problem {
	has, err := s.blkInterposer()
	switch {
	case err != nil:
		return []Problem{{Message: err.Error()}}
	case has:
		return []Problem{{
			"this kernel's own block device interposer can bring a tracker beneath a device in use, but no snapshot: image and origin would both have to take the device in, and only one may",
			interposeHint,
		}}
	}
	return nil
}

// blkInterposer tells whether the kernel has that interposer. Only its work
// proves it: a device of ours takes in another one of ours, and is then asked
// without the flag whether it is attached. Both are gone when it returns.
func (s *session) blkInterposer() (has bool, err error) {
	id := newID()
	under := plan.NamePrefix + "base-probe-" + id
	over := plan.NamePrefix + "front-probe-" + id
	if err := s.probeDevice(under, plan.BaseUUID(id)); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.dropProbe(under)) }()
	if err := s.loadProbe(under, 0, targets.Error{}); err != nil {
		return false, err
	}
	info, err := s.ctl.Status(ioctl.ID{Name: under})
	if err != nil {
		return false, err
	}
	if err := s.probeDevice(over, plan.FrontUUID(id)); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.dropProbe(over)) }()
	// v8 wants the prefix, which others take for the name of a device; v9 has none.
	for _, prefix := range []bool{true, false} {
		dev := targets.Device{DevNo: targets.DevNo(info.Dev), Interpose: prefix}
		if err = s.loadProbe(over, interposeFlag, targets.Linear{Dev: dev}); err == nil {
			break
		}
	}
	if err != nil {
		return false, err
	}
	_, bits, err := s.ctl.StatusRaw(ioctl.ID{Name: over}, 0)
	return bits&interposeFlag != 0, err
}

func (s *session) probeDevice(name, uuid string) error {
	_, err := s.ctl.Create(name, uuid, 0, ioctl.DevNo{})
	return err
}

// loadProbe makes a table live.
func (s *session) loadProbe(name string, raw ioctl.RawFlags, target targets.Target) error {
	id := ioctl.ID{Name: name}
	spec := ioctl.Spec{Length: uint64(probeSize), Type: target.Type(), Params: target.Params()}
	if err := s.ctl.LoadRaw(id, raw, 0, []ioctl.Spec{spec}); err != nil {
		return err
	}
	_, err := s.ctl.Resume(id, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.Hidden))
	return err
}

// dropProbe removes a device as soon as nobody has it open; udev may.
func (s *session) dropProbe(name string) error {
	_, err := s.ctl.Remove(ioctl.ID{Name: name}, ioctl.DeferredRemove, ioctl.FlagsOnly(ioctl.Hidden))
	return err
}
