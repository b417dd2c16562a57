package dm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// List returns all sets by name, those too that only the kernel's tables or only
// a record know. It takes no lock and does not wait.
func (m *Manager) List(_ context.Context) (sets []Set, err error) {
	s, err := m.open("list", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	sets, err = s.sets.list()
	return sets, s.fail(err)
}

// Show returns one set.
func (m *Manager) Show(_ context.Context, name string) (set *Set, err error) {
	s, err := m.open("show", name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	set, err = s.sets.showWhole(name)
	return set, s.fail(err)
}

// showWhole asks the stores themselves for what the kernel does not say any more.
func (l *lister) showWhole(name string) (*Set, error) {
	v, err := l.look()
	if err != nil {
		return nil, err
	}
	set, err := pickSet(v.sets(), name)
	if err != nil || !set.Persistent {
		return set, err
	}
	for i := range set.Volumes {
		d := v.Member(set.UUID, i, plan.RoleStore)
		if u := &set.Volumes[i].Store; u.UsedBytes == nil && d != nil && d.Info.Live && !d.Info.Suspended {
			if err := readStore(l.kernel, u, d.Dev); err != nil {
				l.log.Warn("the store cannot be read", "device", d.Name, "error", err)
			}
		}
	}
	return set, nil
}

func (l *lister) show(name string) (*Set, error) {
	sets, err := l.list()
	if err != nil {
		return nil, err
	}
	return pickSet(sets, name)
}

func pickSet(sets []Set, name string) (*Set, error) {
	for i := range sets {
		if sets[i].Name == name {
			return &sets[i], nil
		}
	}
	return nil, plan.Refuse(plan.NotFound, "", "dmsnap list shows existing sets", "there is no set %s", name)
}

// list joins what the kernel has with what the records say. The kernel decides
// what exists; a record that cannot be read hides nothing.
func (l *lister) list() ([]Set, error) {
	v, err := l.look()
	if err != nil {
		return nil, err
	}
	return v.sets(), nil
}

func (v *view) sets() []Set {
	records, err := v.from.state.Sets()
	if err != nil {
		v.from.log.Warn("a record cannot be read", "error", err)
	}
	byID := map[string]journal.Set{}
	ids := map[string]bool{}
	for _, r := range records {
		if ids[r.ID] && plan.IsLayer(r.Name) {
			continue // its removal is under way
		}
		byID[r.ID], ids[r.ID] = r, true
	}
	for id := range v.IDs() {
		ids[id] = true
	}
	watched, err := monitored(v.from.state)
	if err != nil {
		v.from.log.Warn("cannot determine whether a monitor is running", "error", err)
	}
	sets := make([]Set, 0, len(ids))
	for id := range ids {
		set := v.set(id, byID[id])
		set.Monitored = watched
		sets = append(sets, set)
	}
	v.link(sets)
	slices.SortFunc(sets, func(a, b Set) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.UUID, b.UUID)) })
	return sets
}

func (v *view) set(id string, r journal.Set) Set {
	set := Set{Name: r.Name, UUID: id, Persistent: r.Persistent, Labels: r.Labels, Volumes: []Volume{}}
	if set.Labels == nil {
		set.Labels = map[string]string{}
	}
	if r.ID != "" {
		created := r.Created
		set.Created = &created
		set.Lease = v.from.leases.state(r)
		set.Receipt = new(Receipt)
		if json.Unmarshal(r.Receipt, set.Receipt) != nil {
			set.Receipt = nil
		}
	}
	for i := range max(len(r.Volumes), v.Volumes(id)) {
		if plan.IsLayer(r.Name) && v.Snapshot(id, i) == nil {
			continue // no set read through it
		}
		set.Volumes = append(set.Volumes, v.volume(id, i, r))
	}
	for _, vol := range set.Volumes {
		set.State = worseState(set.State, vol.State)
		if r.ID == "" {
			set.Name = v.guessName(id, vol)
			set.Persistent = vol.persistent
		}
	}
	set.Layer = plan.IsLayer(set.Name)
	set.Bookmark = slices.ContainsFunc(set.Volumes, func(v Volume) bool { return v.bookmark })
	return set
}

// guessName takes a set's name out of its devices': the volume's part is known
// from the base. A store alone does not tell where the set's name ends.
func (v *view) guessName(id string, vol Volume) string {
	if snap := v.Snapshot(id, vol.number); snap != nil {
		return inventory.NameOf(*snap, vol.Name)
	}
	for i := range v.Volumes(id) {
		if d := v.Member(id, i, plan.RoleStore); d != nil {
			return strings.TrimPrefix(d.Name, plan.StorePrefix)
		}
	}
	return id
}

func (v *view) volume(id string, i int, r journal.Set) Volume {
	vol := Volume{
		Mountpoints: []string{}, ImageMounts: []string{}, ReadBy: []string{}, Beside: []Beside{},
		State: StateBroken, Reason: "its image does not exist",
		number: i, snapshot: ioctl.ID{UUID: plan.MemberUUID(id, i, plan.RoleImage)},
	}
	if i < len(r.Volumes) {
		fromRecord(&vol, r.Volumes[i])
		if !plan.IsLayer(r.Name) {
			vol.Device = "/dev/mapper/" + plan.ImageName(r.Name, vol.Name)
		}
	}
	if st := v.Member(id, i, plan.RoleStore); st != nil {
		v.store(&vol, *st)
		vol.bookmark = plan.Hollow(st.Table)
	}
	if vol.bookmark {
		vol.Device = ""
	}
	if snap := v.Snapshot(id, i); snap != nil {
		v.image(&vol, v.Member(id, i, plan.RoleImage), *snap)
	}
	if st := v.Member(id, i, plan.RoleStore); st != nil && stack.GivenUp(st.Table) && vol.State != StateBroken {
		vol.State, vol.Reason = StateInvalid, "its store was given up"
	}
	if i < len(r.Volumes) {
		v.noteDamage(&vol, id, i, r.Volumes[i].Files())
		v.setPin(&vol, id, i, r.Volumes[i].Files())
		if vol.State != StateBypassed { // nothing is copied into its store any more
			vol.Store.setFillRate(r.Created)
		}
	}
	if vol.ChunkBytes >= 512 {
		vol.Store.NeededBytes = plan.NeverFull(targets.Sectors(vol.SizeBytes/512), targets.Sectors(vol.ChunkBytes/512)).Bytes()
	}
	return vol
}

func fromRecord(vol *Volume, r journal.Volume) {
	vol.Name, vol.Origin, vol.FSType, vol.asked = r.Name, r.Origin, r.FSType, r.Asked
	vol.OriginDevno, _ = targets.ParseDevNo(r.OriginDevno) // no number: not known
	vol.SizeBytes, vol.ChunkBytes, vol.Writable = r.SizeBytes, r.ChunkBytes, r.Writable
	vol.Store = Store{Kind: StoreKind(r.StoreKind), Path: r.StorePath, Why: r.StoreWhy, SizeBytes: r.StoreBytes, Spill: r.Spill}
	for _, f := range r.MoreFiles {
		vol.Store.Files = append(vol.Store.Files, f.Path)
	}
	if r.Mountpoints != nil {
		vol.Mountpoints = r.Mountpoints
	}
}

// image describes a volume by its image and the snapshot in or beneath it. What is
// left of a removed set has no image.
func (v *view) image(vol *Volume, image *stack.Device, d stack.Device) {
	vol.snapshot = ioctl.ID{UUID: d.UUID}
	vol.SizeBytes = d.Table.Size().Bytes()
	if image != nil {
		vol.Device, vol.Devno, vol.Writable = "/dev/mapper/"+image.Name, image.Dev, !image.Info.ReadOnly
		vol.ImageMounts = append(vol.ImageMounts, v.mounted[image.Dev]...)
	}
	snap, ok := targets.Only[targets.Snapshot](d.Table)
	if !ok {
		vol.Reason = "its image has no snapshot table"
		return
	}
	vol.ChunkBytes, vol.persistent = snap.Chunk.Bytes(), plan.Lasts(snap.Mode)
	if d.Status.State == targets.Active && d.Info.Live {
		used, meta := d.Status.Used.Bytes(), d.Status.Metadata.Bytes()
		vol.Store.UsedBytes, vol.Store.MetadataBytes = &used, &meta
	}
	base, _ := v.BaseOf(d)
	v.origin(vol, base)
	switch vol.State, vol.Reason = v.imageState(d, base); {
	case vol.State != StateActive:
	case image == nil && !vol.bookmark && !plan.IsLayer(inventory.NameOf(d, vol.Name)):
		vol.State, vol.Reason = StateBroken, "its image does not exist"
	case image != nil && !image.Info.Live:
		vol.State, vol.Reason = StateBroken, neverCut
	}
}

// origin names a volume by its base and front where the record does not.
func (v *view) origin(vol *Volume, base targets.DevNo) {
	if d := v.Base(base); d != nil {
		vol.Name = cmp.Or(vol.Name, strings.TrimPrefix(d.Name, plan.BaseName("")))
		if dev, plain := d.Interposed(); plain {
			vol.OriginDevno, vol.gone = dev, d.Redirect.State == targets.InterposeDead
			vol.Origin = cmp.Or(vol.Origin, v.from.read.Node(dev))
			vol.OriginLayer = v.from.read.Layer(*d).String()
			return
		}
	}
	if front := v.fronts[base]; front != nil {
		vol.OriginDevno = front.Dev
		if vol.Origin == "" {
			vol.Origin = "/dev/mapper/" + front.Name
		}
	}
}

// find looks a set's id up, by its record or by the names of its devices.
func (v *view) find(name string) (string, error) {
	r, err := v.from.state.LoadSet(name)
	if err == nil {
		return r.ID, nil
	}
	if set, err := pickSet(v.sets(), name); err == nil {
		return set.UUID, nil
	}
	return "", noSet(name)
}

func noSet(name string) error {
	return plan.Refuse(plan.NotFound, "", "dmsnap list shows existing sets", "there is no set %s", name)
}

// isNoSet tells that error from others.
func isNoSet(err error) bool {
	r, refused := errors.AsType[*plan.Refusal](err)
	return refused && r.Kind == plan.NotFound
}

func monitored(state journal.Dir) (bool, error) {
	owner, err := state.Owner(journal.MonitorKey)
	return owner != nil, err
}
