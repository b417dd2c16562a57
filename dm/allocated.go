package dm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/extents"
	"github.com/dmsnap/dmsnap/targets"
)

// Allocated lists what of an image its filesystem uses: all but what that says is free.
// It may list more, and never less. The filesystem is asked, on a mount of the image that nobody
// else sees. It must be an ext4 or xfs that was proven frozen; of any other image all
// is listed, and the list says why (ExtentList.Whole).
func (m *Manager) Allocated(ctx context.Context, r AllocatedRequest) (*ExtentList, error) {
	l := &extentLister{m: m, op: "allocated", set: r.Set, from: r.From}
	return l.list(ctx, func(s *session, v *view) (*ExtentList, error) { return l.allocated(s, v, r) })
}

func (l *extentLister) allocated(s *session, v *view, r AllocatedRequest) (*ExtentList, error) {
	set, vol, err := l.find(v.sets(), r.Set, r.Volume)
	if err != nil {
		return nil, err
	}
	t, err := l.trail(v)
	if err != nil {
		return nil, err
	}
	if !vol.readable() {
		return nil, unusableError(vol)
	}
	list := &ExtentList{Set: set.Name, UUID: set.UUID, Volume: vol.Name, SizeBytes: t.size, Granularity: leastUnit}
	if list.Whole = untold(set, vol); list.Whole == "" {
		list.Whole, err = l.ask(s, vol)
	}
	return list, err
}

// untold says why a filesystem's own account is not to be relied on: one that was not
// frozen may have it in its journal only.
func untold(set *Set, v Volume) string {
	frozen := set.Receipt != nil && (set.Receipt.Consistency == Filesystem || set.Receipt.Consistency == Application)
	switch {
	case v.Writable:
		return "the image is writable"
	case !slices.Contains([]string{"ext2", "ext3", "ext4", "xfs"}, v.FSType):
		return "only ext4 and xfs tell which blocks are free"
	case len(v.Mountpoints) == 0:
		return "its filesystem was not mounted when the snapshot was taken"
	case !frozen:
		return "its filesystem was not proven frozen when the snapshot was taken"
	}
	return ""
}

// ask has the filesystem of an image say what is free.
func (l *extentLister) ask(s *session, v Volume) (why string, err error) {
	m, err := mountOptions(s.kernel, v)
	if err != nil {
		return "", err
	}
	options := strings.Split(m.Options, ",")
	if slices.Contains(options, "noload") {
		return "its journal was not empty when the snapshot was taken", nil
	}
	free, err := s.freeOn(m.FSType, v.Devno, options)
	for _, known := range []unix.Errno{unix.EBUSY, unix.EINVAL, unix.EROFS, unix.EUCLEAN, unix.ENODEV, unix.EOPNOTSUPP, unix.ENOTTY} {
		if errors.Is(err, known) {
			return fmt.Sprintf("its filesystem does not tell which blocks are free: %v", err), nil
		}
	}
	l.free = free
	return "", err
}

// freeOn are the parts of an image that its filesystem says are free, in whole pages.
func (s *session) freeOn(fstype string, dev targets.DevNo, options []string) (free []extents.Extent, err error) {
	mount, err := s.kernel.MountPrivate(fstype, fmt.Sprintf("/dev/dm-%d", dev.Minor), options...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mount.Close()) }()
	dir, err := s.kernel.Open(mount.Path(), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	ranges, err := dir.FreeSpace()
	for _, r := range ranges {
		if e := (extents.Extent{Start: r.Start, End: r.Start + r.Length}).Inward(leastUnit); e.Start < e.End {
			free = append(free, e)
		}
	}
	return free, err
}
