package dm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// useChecker finds out who uses origins, and whether that is as it was when a plan was
// made.
type useChecker struct {
	kernel *ioctl.Kernel
	read   *stack.Reader
}

// checkFacts compares what the plan was made from with what exists, once everything is
// ready for the window: a filesystem that was mounted above an origin since the
// plan was made would be neither frozen nor named in the receipt.
func (u useChecker) checkFacts(f *facts) error {
	mounted, err := allMounts(u.kernel)
	if err != nil {
		return err
	}
	if err := u.checkAbove(f, mounted); err != nil || f.request.Crash {
		return err
	}
	if !sameFilesystems(f.systems, mounted.Plan(f.devices()...)) {
		return otherFilesystems()
	}
	f.doubts = u.findDoubts(f, mounted)
	return nil
}

// checkAbove refuses origins on which other devices stand than when f was made, or
// on which something is mounted now that they cannot serve.
func (u useChecker) checkAbove(f *facts, mounted mounts) error {
	for _, v := range f.request.Volumes {
		now, err := u.above(v.Origin.Dev)
		if err != nil {
			return err
		}
		was, err := u.others(f.above[v.Origin.Dev])
		if err != nil {
			return err
		}
		for _, d := range now {
			if !slices.Contains(was, d) {
				return plan.Refuse(plan.Busy, v.Origin.Path, "try again", "%s has been stacked on %s since the snapshot was prepared", u.read.Node(d), v.Origin.Path)
			}
		}
		if len(now) != len(was) {
			return plan.Refuse(plan.Busy, v.Origin.Path, "try again", "a device stacked on %s has disappeared since the snapshot was prepared", v.Origin.Path)
		}
		if err := checkNoDAX(u.read, v.Origin, now, mounted); err != nil {
			return err
		}
	}
	return nil
}

func (u useChecker) above(origin targets.DevNo) ([]targets.DevNo, error) {
	all, err := u.read.Above(origin)
	if err != nil {
		return nil, err
	}
	return u.others(all)
}

// others leaves out bases, stores and images: where one origin of a set stands on
// another, those of the upper one have just been made on the lower one. No filesystem
// that writes to an origin stands on them.
func (u useChecker) others(devices []targets.DevNo) (out []targets.DevNo, err error) {
	for _, d := range devices {
		role, err := u.read.Role(d)
		if err != nil {
			return nil, err
		}
		if role != plan.RoleBase && role != plan.RoleLower && !role.Member() {
			out = append(out, d)
		}
	}
	return out, nil
}

func sameFilesystems(was, now freeze.Plan) bool {
	return slices.EqualFunc(was, now, func(a, b freeze.Filesystem) bool {
		return a.DevNo == b.DevNo && a.FSType == b.FSType && a.ReadOnly == b.ReadOnly
	})
}

func otherFilesystems() error {
	return plan.Refuse(plan.Busy, "", "try again", "filesystems were mounted or unmounted since the snapshot was prepared")
}

// doubt is one with the device that it is about.
type doubt struct {
	Doubt
	dev targets.DevNo
}

// findDoubts returns the devices of the set that are in use though no filesystem was
// found on them. A mount may be in a namespace that cannot be read, or be gone
// while files are open. The kernel knows: all who mount, swap or build on a device
// claim it exclusively, so an exclusive open tells. It is closed at once, since
// others cannot mount the device meanwhile, and is for reading only: closing a
// descriptor for writing makes udev look at the device again.
func (u useChecker) findDoubts(f *facts, mounted mounts) []doubt {
	var out []doubt
	for _, v := range f.request.Volumes {
		for _, d := range f.above[v.Origin.Dev] {
			known := slices.ContainsFunc(f.systems, func(fs freeze.Filesystem) bool { return fs.Uses(d) })
			if known || len(u.read.HolderNames(d)) > 0 {
				continue // frozen, or claimed by a device that is looked at itself
			}
			node := u.read.Node(d)
			if reason := u.claimReason(node, d, mounted); reason != "" {
				out = append(out, doubt{Doubt{Device: node, Reason: reason}, d})
				continue
			}
			f.atRest = append(f.atRest, d)
		}
	}
	return out
}

// recheckIdle checks again after the window the devices that were unused before
// it: who began to in between was neither frozen nor seen.
func (u useChecker) recheckIdle(f *facts) {
	for _, d := range f.atRest {
		node := u.read.Node(d)
		if u.claimReason(node, d, f.mounts) != "" {
			f.doubts = append(f.doubts, doubt{Doubt{Device: node, Reason: "it came into use while the snapshot was taken"}, d})
		}
	}
}

// claimReason tells why a device without a known filesystem may not hold still, "" if
// it is not claimed.
func (u useChecker) claimReason(node string, d targets.DevNo, mounted mounts) string {
	err := u.read.TryClaim(node)
	for try := 0; errors.Is(err, unix.EBUSY) && try < 2; try++ {
		time.Sleep(claimPause)
		err = u.read.TryClaim(node)
	}
	switch {
	case err == nil:
		return ""
	case !errors.Is(err, unix.EBUSY):
		return "whether it is in use could not be determined: " + err.Error()
	case u.read.Swaps(d):
		return "it is in use as swap"
	}
	why := []string{"it is in use, but its mount point is not visible from here"}
	for _, p := range u.read.Users(d) {
		why = append(why, fmt.Sprintf("pid %d (%s) has files open on it", p.PID, p.Command))
	}
	for _, p := range mounted.Problems() {
		why = append(why, p.String())
	}
	return strings.Join(why, "; ")
}

// claimPause is longer than a look like this one of another program, and short
// enough not to matter.
const claimPause = 5 * time.Millisecond
