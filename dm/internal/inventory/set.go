package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// Set is all that is known of one set.
type Set struct {
	Name, ID string
	View     *stack.View
	Record   *journal.Set     // of that name and that id; nil: there is none
	Intents  []journal.Intent // of all sets
}

// intents are those that are about the set.
func (s Set) intents() []journal.Intent {
	return slices.DeleteFunc(slices.Clone(s.Intents), func(i journal.Intent) bool { return i.ID != s.ID })
}

// Adopted is the name of the device that stands on an adopted one and has the set's
// id; "" if there is none.
func (s Set) Adopted() (name string) {
	for d := range s.View.Devices() {
		if d.ID == s.ID && d.Role == plan.RoleAdopted {
			name = d.Name
		}
	}
	return name
}

// Volume is one volume that is to be removed, as far as our devices tell.
type Volume struct {
	plan.RemoveVolume
	Base *stack.Device // on which its snapshot stands, nil if on none; its front is yet to be read
}

// Volumes are those that have devices, by number.
func (s Set) Volumes() map[int]*Volume {
	volumes := map[int]*Volume{}
	for d := range s.View.Devices() {
		if d.ID != s.ID || !d.Role.Member() {
			continue
		}
		v := volumes[d.Volume]
		if v == nil {
			v = &Volume{RemoveVolume: plan.RemoveVolume{Number: d.Volume}}
			volumes[d.Volume] = v
		}
		switch d.Role {
		case plan.RoleImage:
			v.Image = d.Name
			s.snapshot(v, d)
		case plan.RoleCore:
			v.Core = d.Name
			s.snapshot(v, d)
		case plan.RoleStore:
			v.Store = d.Name
			if d.Info.Live && !stack.GivenUp(d.Table) {
				v.StoreSize, v.Spill = d.Table.Size(), pieces(d)
			}
		}
	}
	return volumes
}

// snapshot says what a volume's snapshot reads through and what reads through it. An
// image over a core is no snapshot.
func (s Set) snapshot(v *Volume, d stack.Device) {
	lower, ok := d.Lower()
	if !ok {
		return
	}
	if on := s.View.At(lower); d.Role == plan.RoleImage && on != nil && on.Role == plan.RoleCore {
		return
	}
	v.Dead = d.Status.State == targets.Invalid
	v.Chained = len(s.View.Through(d)) > 0
	for _, reader := range s.View.ReadBy(d) {
		v.ReadBy = append(v.ReadBy, reader.Name)
	}
	base, _ := s.View.BaseOf(d)
	if b := s.View.Base(base); b != nil {
		v.Base, v.Name = b, strings.TrimPrefix(b.Name, plan.BaseName(""))
	}
}

// pieces are the places at which a store continues on another device, whose head
// a chunk of the origin may make look like something it is not.
func pieces(d stack.Device) (starts []targets.Sectors) {
	seen := map[targets.Device]bool{}
	for i, row := range d.Table {
		linear, ok := row.Target.(targets.Linear)
		if ok && i > 0 && !seen[linear.Dev] {
			starts = append(starts, row.Start)
		}
		seen[linear.Dev] = true
	}
	return starts
}

// Nodes are the names of its devices by record and intent: what has no device may
// have a node all the same. A base that exists may serve other sets, and so may its
// front.
func (s Set) Nodes() (names []string) {
	if s.Record != nil {
		for _, v := range s.Record.Volumes {
			names = append(names, plan.ImageName(s.Name, v.Name), plan.CoreName(s.Name, v.Name), plan.StoreName(s.Name, v.Name))
		}
	}
	for _, base := range s.bases() {
		if base == "" { // one that stays
			continue
		}
		volume := strings.TrimPrefix(base, plan.BaseName(""))
		for _, layer := range []string{base, plan.FrontName(volume), plan.LowerName(volume)} {
			if s.View.Named(layer) == nil {
				names = append(names, layer)
			}
		}
	}
	return names
}

// bases are those that were made for the set, or that its record would have.
func (s Set) bases() (names []string) {
	for _, i := range s.intents() {
		names = append(names, i.Bases...)
	}
	if s.Record != nil {
		for _, v := range s.Record.Volumes {
			names = append(names, plan.BaseName(v.Name))
		}
	}
	return names
}

// OrphanBases are bases that no image stands on and that belong to the set by its
// record or intent: what is left when an operation ended before its image was loaded,
// or after it was removed.
func (s Set) OrphanBases() (orphans []stack.Device) {
	mine := s.bases()
	for d := range s.View.Devices() {
		if d.Role == plan.RoleBase && len(s.View.PlanBase(d).Images) == 0 && slices.Contains(mine, d.Name) {
			orphans = append(orphans, d)
		}
	}
	return orphans
}

// OrphanLower are the names of devices beneath bases that are gone or did not come to be,
// and that were made for the set: what is left when an attach or the end of it was
// interrupted.
func (s Set) OrphanLower() (names []string) {
	mine := s.bases()
	for d := range s.View.Devices() {
		if d.Role == plan.RoleLower && s.View.OnLower(d) == nil && slices.Contains(mine, plan.BaseNameOf(d.Name)) {
			names = append(names, d.Name)
		}
	}
	return names
}

// Last tells whether no image of another set stands on a base.
func (s Set) Last(b plan.Base) bool {
	return !s.View.Any(func(d stack.Device) bool {
		return d.ID != s.ID && slices.Contains(b.Images, d.Name)
	})
}

// Files are those of its stores, by volume, that the record or an intent names, first
// ones first.
func (s Set) Files() map[int][]*plan.File {
	files := map[int][]*plan.File{}
	if s.Record != nil {
		for n, v := range s.Record.Volumes {
			AddFiles(files, n, v.Files()...)
		}
	}
	for _, i := range s.intents() {
		for n, f := range i.Files {
			if f != nil && (f.At > 0 || s.Record == nil) {
				AddFiles(files, n, f)
			}
		}
	}
	return files
}

// AddFiles adds those of a volume's store that are not known yet.
func AddFiles(files map[int][]*plan.File, volume int, more ...*plan.File) {
	for _, f := range more {
		known := func(k *plan.File) bool { return k.Path == f.Path }
		if !slices.ContainsFunc(files[volume], known) {
			files[volume] = append(files[volume], f)
		}
	}
	slices.SortStableFunc(files[volume], func(a, b *plan.File) int { return cmp.Compare(a.At, b.At) })
}

// Media are the devices that intents and the record name as those of its stores.
// Whether a name still leads to the device, its label tells.
func (s Set) Media() (named []journal.Medium) {
	for _, i := range s.intents() {
		named = append(named, i.Media...)
	}
	if s.Record == nil {
		return named
	}
	for n, v := range s.Record.Volumes {
		paths := v.Spill
		if v.StoreKind == "device" {
			paths = append([]string{v.StorePath}, paths...)
		}
		for _, p := range paths {
			named = append(named, journal.Medium{Path: p, Volume: n})
		}
	}
	return named
}

// HasGrown tells whether a store is larger than its record says. A set without a
// record cannot tell.
func (s Set) HasGrown() bool {
	return s.Record != nil && s.View.Any(func(d stack.Device) bool {
		return d.ID == s.ID && d.Role == plan.RoleStore && d.Volume < len(s.Record.Volumes) &&
			d.Table.Size().Bytes() > s.Record.Volumes[d.Volume].StoreBytes
	})
}
