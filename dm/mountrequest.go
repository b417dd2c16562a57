package dm

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// Layout is where the images of a set are mounted below a directory.
type Layout string

// The layouts. Of the first two a set with one volume looks as one with several does.
const (
	LayoutTree  Layout = "tree" // at their origins' mount points
	LayoutFlat  Layout = "flat" // in a directory of the volume's name each
	LayoutUsual Layout = ""     // one volume on the directory itself, several as a tree
)

// MountRequest asks for the images of a set to be mounted read-only.
type MountRequest struct {
	Name   string // of the set
	Dir    string // an absolute path
	Layout Layout
	// Suid honours set-user-ID and set-group-ID bits of programs in the images, and Dev
	// device nodes: what has been mended or removed since comes back to life.
	Suid, Dev bool
}

func (r MountRequest) check() error {
	switch {
	case !path.IsAbs(r.Dir):
		return plan.Refuse(plan.Usage, r.Dir, "use an absolute path", "%s is not an absolute path", r.Dir)
	case r.Layout != LayoutTree && r.Layout != LayoutFlat && r.Layout != LayoutUsual:
		return plan.Refuse(plan.Usage, "", "use tree or flat", "unknown layout %q", r.Layout)
	}
	return nil
}

// place is where one of so many volumes is mounted.
func (r MountRequest) place(v Volume, volumes int) string {
	switch {
	case r.Layout == LayoutFlat:
		return path.Join(r.Dir, v.Name)
	case r.Layout == LayoutUsual && volumes == 1:
		return path.Clean(r.Dir)
	}
	return path.Join(r.Dir, mountDirOf(v))
}

func (r MountRequest) flags() uintptr {
	flags := uintptr(unix.MS_RDONLY)
	if !r.Suid {
		flags |= unix.MS_NOSUID
	}
	if !r.Dev {
		flags |= unix.MS_NODEV
	}
	return flags
}

// flagText has flags as mount(8) has them.
func flagText(flags uintptr) string {
	text := []string{"ro"}
	if flags&unix.MS_NOSUID != 0 {
		text = append(text, "nosuid")
	}
	if flags&unix.MS_NODEV != 0 {
		text = append(text, "nodev")
	}
	return strings.Join(text, ",")
}

// warnOfOldTree says what it means that a journal is not replayed, which a read-only image
// does not allow: after a freeze it is empty, otherwise the tree lacks what it has.
func (s *session) warnOfOldTree(set *Set, mounts []Mounted) {
	if set.Receipt == nil {
		return
	}
	for _, m := range mounts {
		unproven := false
		for _, v := range set.Receipt.Volumes {
			unproven = unproven || v.Name == m.Volume && v.Consistency == Crash
		}
		if unproven && (strings.Contains(m.Options, "noload") || strings.Contains(m.Options, "norecovery")) {
			s.log.Warn("this image was not proven frozen, and its journal is not replayed: files may be older than the snapshot, or damaged",
				"mount", m.Path, "hint", "take sets with --writable to replay it, or mount a copy of the image")
		}
	}
}
