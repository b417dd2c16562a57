package dm

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Selection names origins by what they have in common. What it leads to is found out
// anew by each Create. If one of them cannot be taken there is no set: a filesystem is
// left out only if Except says so.
type Selection struct {
	// All are the filesystems on block devices that are mounted in our mount namespace,
	// but for those that nothing can change, such as squashfs and iso9660.
	All bool
	// Below are mount points: the filesystem mounted there and all below it, as for All.
	Below []string
	// Groups are LVM volume groups: their active volumes, mounted or not, but for those
	// that other volumes of the group consist of, and those used as swap.
	Groups []string
	// Except are devices, and directories: what is mounted there and below is left out.
	Except []string
}

func (s Selection) isZero() bool { return !s.All && len(s.Below) == 0 && len(s.Groups) == 0 }

// selectOrigins adds what the selection leads to, by device, to the origins that are
// named.
func (x *examiner) selectOrigins(r CreateRequest) (CreateRequest, error) {
	if r.Select.isZero() {
		return r, nil
	}
	s := selector{examiner: x, request: r.Select}
	var err error
	if s.mounts, err = ownMounts(x.kernel); err != nil {
		return r, err
	}
	for _, o := range r.Origins {
		dev, err := x.read.Resolve(o, s.mounts)
		if err != nil {
			return r, err
		}
		s.found = append(s.found, candidate{dev, o})
	}
	named := len(s.found)
	for _, find := range []func() error{s.leaveOut, s.mounted, s.groups} {
		if err := find(); err != nil {
			return r, err
		}
	}
	if len(s.found) == 0 {
		return r, plan.Refuse(plan.NotFound, "", "name the devices", "nothing was found to take a snapshot of")
	}
	r.Origins = nil
	for _, c := range s.found {
		r.Origins = append(r.Origins, c.name)
	}
	return r, s.checkAll(s.found[named:])
}

// selector is one selection while it is looked up.
type selector struct {
	*examiner
	request Selection
	mounts  mounts
	except  []targets.DevNo
	dirs    []string // of Except
	found   []candidate
}

type candidate struct {
	dev  targets.DevNo
	name string
}

func (s *selector) leaveOut() error {
	for _, spec := range s.request.Except {
		if dir, err := s.read.RealPath(spec); err == nil {
			st, err := s.kernel.Stat(dir)
			if err != nil {
				return err
			}
			if st.Is(unix.S_IFDIR) {
				s.dirs = append(s.dirs, dir)
				continue
			}
		}
		dev, err := s.read.Resolve(spec, s.mounts)
		if err != nil {
			return err
		}
		s.except = append(s.except, dev)
	}
	return nil
}

func (s *selector) mounted() error {
	roots := []string{}
	if s.request.All {
		roots = append(roots, "/")
	}
	for _, spec := range s.request.Below {
		dir, err := s.read.RealPath(spec)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(s.mounts.All(), func(m freeze.Mount) bool { return m.Path == dir }) {
			return plan.Refuse(plan.Usage, spec, "findmnt --target "+spec+" shows the mount point that it is below", "%s is not a mount point", spec)
		}
		roots = append(roots, dir)
	}
	all := s.mounts.All()
	slices.SortStableFunc(all, func(a, b freeze.Mount) int { return cmp.Compare(a.Path, b.Path) })
	for _, m := range all {
		wanted := slices.ContainsFunc(roots, func(root string) bool { return isBelow(m.Path, root) })
		left := slices.ContainsFunc(s.dirs, func(dir string) bool { return isBelow(m.Path, dir) })
		if !wanted || left || m.PID != 0 || unchanging(m.FSType) {
			continue
		}
		for _, dev := range s.mounts.Devices(m) {
			if err := s.add(dev); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *selector) groups() error {
	if len(s.request.Groups) == 0 {
		return nil
	}
	entries, err := s.read.Control.List(ioctl.ID{})
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b ioctl.Entry) int { return cmp.Compare(a.Name, b.Name) })
	for _, group := range s.request.Groups {
		volumes, err := s.volumesOf(group, entries)
		if err != nil {
			return err
		}
		if len(volumes) == 0 {
			return plan.Refuse(plan.NotFound, "", "vgs shows the groups, and vgchange -ay activates their volumes", "volume group %s has no active volume", group)
		}
		for _, dev := range volumes {
			if err := s.add(dev); err != nil {
				return err
			}
		}
	}
	return nil
}

// volumesOf leaves out the devices that a volume of the group consists of: lvm2 marks
// most with a suffix of their uuid, and on the others another volume stands.
func (s *selector) volumesOf(group string, entries []ioctl.Entry) (volumes []targets.DevNo, err error) {
	own := map[targets.DevNo]bool{}
	for _, e := range entries {
		own[e.Dev] = plan.Group(e.Name, e.UUID) == group
	}
	for _, e := range entries {
		if !own[e.Dev] || strings.Contains(strings.TrimPrefix(e.UUID, "LVM-"), "-") {
			continue
		}
		above, err := s.read.Above(e.Dev)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(above[1:], func(d targets.DevNo) bool { return own[d] }) && !s.read.Swaps(e.Dev) {
			volumes = append(volumes, e.Dev)
		}
	}
	return volumes, nil
}

// add takes a device once, and none of dmsnap's own.
func (s *selector) add(dev targets.DevNo) error {
	same := func(c candidate) bool { return c.dev == dev }
	if slices.Contains(s.except, dev) || slices.ContainsFunc(s.found, same) {
		return nil
	}
	role, err := s.read.Role(dev)
	if err == nil && !role.Member() {
		s.found = append(s.found, candidate{dev, s.name(dev)})
	}
	return err
}

// name is the mount point that leads to a device, or else its node.
func (s *selector) name(dev targets.DevNo) string {
	for _, m := range s.mounts.Of(dev) {
		if at, found := s.mounts.At(m.Path); m.Root == "/" && found && at == dev {
			return m.Path
		}
	}
	return s.read.Node(dev)
}

// checkAll names all that cannot be taken, not only the first.
func (s *selector) checkAll(selected []candidate) error {
	f := &facts{above: map[targets.DevNo][]targets.DevNo{}, mounts: s.mounts}
	var err error
	if f.ours, err = s.read.Look(); err != nil {
		return err
	}
	var first *plan.Refusal
	var except, reasons []string
	for _, c := range selected {
		_, err := s.findOrigin(f, c.name)
		if err == nil {
			continue
		}
		refused, known := errors.AsType[*plan.Refusal](err)
		if !known {
			return err
		}
		first = cmp.Or(first, refused)
		except, reasons = append(except, "--except "+c.name), append(reasons, c.name+": "+refused.Why)
	}
	if first == nil {
		return nil
	}
	hint := "to take the others: " + strings.Join(except, " ")
	if first.Hint != "" {
		hint = first.Hint + "; or, " + hint
	}
	return plan.Refuse(first.Kind, first.Device, hint, "%s", strings.Join(reasons, "; "))
}

// unchanging are filesystems that nothing can write to.
func unchanging(fstype string) bool {
	switch fstype {
	case "squashfs", "iso9660", "erofs", "cramfs", "romfs":
		return true
	}
	return false
}

// isBelow tells whether a path is a directory or below it.
func isBelow(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}
