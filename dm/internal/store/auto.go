package store

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// auto chooses: the administrator's list; else the filesystem with most free
// space that is on no origin of the set; else the origin's own; else memory. The
// first with room for what is needed is taken, else the first worth anything. Media
// that may hang or are slow are for the administrator's list, or --store.
type auto struct{}

// candidate is a store auto may choose, and why.
type candidate struct {
	plan.Store
	why string
}

func (auto) Inspect(h *Host, o plan.Origin) (plan.Store, error) {
	var found []candidate
	var refused []string
	add := func(why string, s plan.Store, err error) error {
		switch _, no := errors.AsType[*plan.Refusal](err); {
		case no:
			refused = append(refused, err.Error())
		case err != nil:
			if _, busy := errors.AsType[*InUseError](err); !busy {
				return err
			}
			refused = append(refused, err.Error())
		case s.Size < h.Least:
			refused = append(refused, fmt.Sprintf("%s has room for %d bytes", place(s), s.Size.Bytes()))
		default:
			found = append(found, candidate{s, why})
		}
		return nil
	}
	passed, err := h.candidates(o, add)
	if err != nil {
		return plan.Store{}, err
	}
	for _, p := range passed {
		refused = append(refused, "not chosen automatically: "+p)
	}
	if len(found) == 0 {
		return plan.Store{}, plan.Refuse(plan.NoSpace, o.Path, "free some space, or name a store with --store",
			"no room for a store of %d bytes for %s: %s", h.Least.Bytes(), o.Path, strings.Join(refused, "; "))
	}
	best := found[0]
	if i := slices.IndexFunc(found, func(c candidate) bool { return c.Size >= h.Need }); i >= 0 {
		best = found[i]
	}
	best.Why = best.why
	if len(passed) > 0 {
		best.Why += "; not chosen: " + strings.Join(passed, ", ")
	}
	return best.Store, nil
}

func place(s plan.Store) string {
	if s.Path == "" {
		return "memory"
	}
	return s.Path
}

// candidates looks all stores up that auto may choose, best first, and tells which
// filesystems it passes over.
func (h *Host) candidates(o plan.Origin, add func(string, plan.Store, error) error) (passed []string, err error) {
	for _, spec := range h.Policy.Stores {
		kind, err := Parse(spec)
		var s plan.Store
		if err == nil {
			s, err = kind.Inspect(h, o)
		}
		if err := add("it is in the configuration file", s, err); err != nil {
			return nil, err
		}
	}
	others, own, err := h.filesystems(o)
	if err != nil {
		return nil, err
	}
	for _, fs := range append(others, own...) {
		why := "it has the most free space outside the origins"
		if slices.ContainsFunc(own, func(f filesystem) bool { return f.Path == fs.Path }) {
			why = "no other filesystem has room for it"
		}
		unfit, err := h.unfit(fs, o)
		if err != nil {
			return nil, err
		}
		if unfit != "" {
			passed = append(passed, passedOver(fs, unfit))
			continue
		}
		s, err := inspectFile(h, o, path.Join(fs.Path, h.File), fs)
		if err := add(why, s, err); err != nil {
			return nil, err
		}
	}
	s, err := ram{}.Inspect(h, o)
	return passed, add("no filesystem has room for it", s, err)
}

// filesystems are those on which auto makes files: mounted for us to write, each
// once at its root, those beside the set by free space, and then the origin's own.
func (h *Host) filesystems(o plan.Origin) (others, own []filesystem, err error) {
	seen := map[ioctl.DevNo]bool{}
	for _, m := range h.Mounts.All() {
		if m.PID != 0 || m.Root != "/" && m.FSType != "btrfs" || seen[m.DevNo] || !slices.Contains(loopable, m.FSType) || h.hidden(m) || covers("/boot", m.Path) {
			continue // what the boot needs is kept small
		}
		fs, err := h.measure(m, m.Path)
		if err != nil {
			return nil, nil, err
		}
		if seen[m.DevNo] = true; !fs.writable() || h.ours(fs) {
			continue
		}
		onOrigin, onSet, err := h.stands(fs, o)
		switch {
		case err != nil:
			return nil, nil, err
		case onOrigin:
			own = append(own, fs)
		case !onSet:
			others = append(others, fs)
		}
	}
	slices.SortStableFunc(others, func(a, b filesystem) int { return cmp.Compare(h.room(b), h.room(a)) })
	return others, own, nil
}

// hidden says that another mount covers this one: a file at its path would be
// made elsewhere.
func (h *Host) hidden(m freeze.Mount) bool {
	fs, err := h.at(m.Path)
	return err != nil || fs.ID != m.ID
}

// ours tells the filesystem of an image.
func (h *Host) ours(fs filesystem) bool {
	return slices.ContainsFunc(fs.devices, func(d targets.DevNo) bool { return h.Ours.At(d) != nil })
}

// stands tells whether a filesystem stands on an origin, or on any of the set.
func (h *Host) stands(fs filesystem, o plan.Origin) (onOrigin, onSet bool, err error) {
	for _, d := range fs.devices {
		var beneath []targets.DevNo
		if beneath, err = h.Read.Beneath(d); err != nil {
			return false, false, err
		}
		_, found := h.origin(beneath)
		onSet, onOrigin = onSet || found, onOrigin || slices.Contains(beneath, o.Dev)
	}
	return onOrigin, onSet, nil
}
