package dm

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// ExtendRequest asks for larger stores of a set.
type ExtendRequest struct {
	Name string
	// Size is what each store is to have, or to get beside what it has if
	// Relative. A share is one of the volume's origin. No store gets more than it
	// can ever need.
	Size     Size
	Relative bool
	// Partly takes what there is if that is less.
	Partly bool
	// Volumes limits the request to some; empty: all.
	Volumes []string
	// Store is a device on which the store continues: one on a device when that is
	// used up, one in a file or in memory at once. It is overwritten, and serves one
	// volume. Empty: the store grows where it is.
	Store string
}

// Extend makes the stores of a live set larger. Writers that need a chunk copied
// wait while the kernel takes the new size over; no filesystem is frozen. It
// blocks until the new room is in use. A file on an origin's filesystem grows only
// into what was free at the cut of all images of that origin: others need their
// blocks still.
//
// An Extend that fails has changed nothing, unless its code is CodePartial, when
// some stores have grown, or CodeUnrecovered.
func (m *Manager) Extend(ctx context.Context, r ExtendRequest) (set *Set, err error) {
	s, err := m.open("extend", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.extend(ctx, r); err != nil {
		return nil, s.fail(err)
	}
	if set, err = s.sets.show(r.Name); err != nil {
		return nil, s.fail(&run.PartialError{Err: err}) // they have grown
	}
	return set, nil
}

// PlanExtend returns the steps Extend would take, and changes nothing.
func (m *Manager) PlanExtend(_ context.Context, r ExtendRequest) (p *Plan, err error) {
	s, err := m.open("extend", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	planned, err := s.planExtend(r)
	if err != nil {
		return nil, s.fail(err)
	}
	return redactedPlan(planned), nil
}

func (s *session) extend(ctx context.Context, r ExtendRequest) error {
	e := &extender{session: s, request: r}
	_, err := s.perform(ctx, change{look: e.look, plan: e.plan, commit: e.commit})
	if e.grown && err != nil { // the stores have grown all the same
		s.log.Warn("the journal entry of a finished extend stays until the next command", "error", err)
		return nil
	}
	return err
}

// extender makes stores of a set larger.
type extender struct {
	*session
	request ExtendRequest
	ours    *view
	set     *Set
	grown   bool
}

// look finds the set. Its origins are locked too if a file on one of them may grow:
// an image cut meanwhile might need what was in the file's new blocks.
func (e *extender) look() (keys []string, err error) {
	if e.ours, err = e.sets.scanDevices(); err != nil {
		return nil, err
	}
	if e.set, err = pickSet(e.ours.sets(), e.request.Name); err != nil {
		return nil, err
	}
	keys = append(namedStoreKeys(e.read, e.request.Store), journal.SetKey(e.set.Name), journal.IDKey(e.set.UUID))
	files, err := e.remains.StoreFiles(e.ours.View, e.set.Name, e.set.UUID)
	if err != nil {
		return nil, err
	}
	for _, of := range files {
		if of[0].Backing == plan.Extents && e.request.Store == "" {
			rest, err := e.remains.Removal(e.ours.View, e.set.Name, e.set.UUID)
			return append(keys, originKeys(rest)...), err
		}
	}
	return keys, nil
}

// commit notes how large the stores are now.
func (e *extender) commit(_ context.Context, d done) error {
	e.grown = true
	return e.noteStores(d.intent)
}

// noteStores brings a record in line with the kernel's tables after an extend. A set
// without a record stays without.
func (s *session) noteStores(i journal.Intent) error {
	record, err := s.state.LoadSet(i.Set)
	if errors.Is(err, fs.ErrNotExist) || record.ID != i.ID {
		return nil
	}
	if err != nil {
		return err
	}
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	for d := range ours.Devices() {
		if d.ID != i.ID || d.Role != plan.RoleStore || d.Volume >= len(record.Volumes) {
			continue
		}
		v := &record.Volumes[d.Volume]
		v.StoreBytes, v.Spill = d.Table.Size().Bytes(), s.remains.Spill(d)
		if d.Volume < len(i.Files) {
			v.MoreFiles = addFile(v.MoreFiles, i.Files[d.Volume], v.StoreBytes)
		}
	}
	return s.state.SaveSet(record)
}

// addFile adds a store's further file if the store uses it: what is behind the
// store's old end is all of it.
func addFile(files []*plan.File, f *plan.File, size uint64) []*plan.File {
	known := func(k *plan.File) bool { return k.Path == f.Path }
	if f == nil || size <= f.At || slices.ContainsFunc(files, known) {
		return files
	}
	f.Bytes = size - f.At
	return append(files, f)
}

func (s *session) planExtend(r ExtendRequest) (*plan.Plan, error) {
	e := &extender{session: s, request: r}
	if _, err := e.look(); err != nil {
		return nil, err
	}
	return e.plan(context.Background())
}

func (e *extender) plan(context.Context) (*plan.Plan, error) {
	r, v, set := e.request, e.ours, e.set
	request := plan.ExtendRequest{Set: set.Name, ID: set.UUID}
	files, err := e.remains.StoreFiles(v.View, set.Name, set.UUID)
	if err != nil {
		return nil, err
	}
	var named []string
	for _, name := range r.Volumes {
		vol, err := set.pick(name)
		if err != nil {
			return nil, err
		}
		named = append(named, vol.Name)
	}
	for _, vol := range set.Volumes {
		if len(named) > 0 && !slices.Contains(named, vol.Name) {
			continue
		}
		ev, err := e.readVolume(vol, files[vol.number])
		if err != nil {
			return nil, err
		}
		request.Volumes = append(request.Volumes, ev)
	}
	if err := e.readFurther(&request); err != nil {
		return nil, err
	}
	return plan.Extend(request)
}

// readVolume looks up what there is of a volume's store.
func (e *extender) readVolume(v Volume, files []*plan.File) (plan.ExtendVolume, error) {
	r := e.request
	out := plan.ExtendVolume{
		Name: v.Name, Path: v.Store.Path, Origin: targets.Sectors(v.SizeBytes / 512), Chunk: targets.Sectors(v.ChunkBytes / 512),
		Want: targets.Sectors(r.Size.Of(v.SizeBytes) / 512), Relative: r.Relative, Partly: r.Partly,
	}
	if v.bookmark {
		return out, plan.Refuse(plan.Unsupported, "", "nothing to do", "volume %s is a bookmark: its store cannot overflow", v.Name)
	}
	if v.State != StateActive && v.State != StateMerging {
		out.Lost = string(v.State)
	}
	d := e.ours.Member(e.set.UUID, v.number, plan.RoleStore)
	if d == nil || !d.Info.Live || len(d.Table) == 0 {
		return out, plan.Refuse(plan.NotFound, v.Store.Path, "remove the set", "the store of volume %s is missing", v.Name)
	}
	out.Store, out.Table = d.Name, d.Table
	out.Label = layout.Label{
		ID: d.ID, Set: e.set.Name, Volume: uint32(d.Volume), VolumeName: v.Name, Kind: layout.Device, Persistent: v.persistent,
		Piece: countMedia(d.Table, files),
	}
	g, err := e.read.Geometry(e.read.Node(d.Dev))
	if err != nil {
		return out, err
	}
	out.LogicalBlock = g.LogicalBlock
	if err := e.findRoom(&out); err != nil || r.Store != "" || out.Lost != "" {
		return out, err
	}
	return out, e.readGrowth(&out, v, *d, files)
}

// countMedia counts what a store is made of. Files that are mapped lie on one device.
func countMedia(t targets.Table, files []*plan.File) uint32 {
	n := len(t.Devices())
	if len(files) > 0 && files[0].Backing == plan.Extents {
		n += len(files) - 1
	}
	return uint32(n)
}

// findRoom finds out how far the last piece of a store can grow: to the end of a
// device that is the store's alone. On the base of an origin lie other things.
func (e *extender) findRoom(v *plan.ExtendVolume) error {
	last, ok := v.Table[len(v.Table)-1].Target.(targets.Linear)
	if !ok || e.ours.At(last.Dev.DevNo) != nil {
		return nil
	}
	node := e.read.Node(last.Dev.DevNo)
	g, err := e.read.Geometry(node)
	v.Room = g.Size
	if plan.LeadOn(v.Table, last.Dev.DevNo) {
		tail, tailErr := layout.TailAt(g.Size.Bytes())
		v.Room, err = targets.Sectors(tail/targets.SectorSize), errors.Join(err, tailErr)
		v.Last = e.outgrownMedium(node, last.Dev.DevNo, g.Size)
	}
	if len(v.Table) > 1 {
		v.Path = node
	}
	return err
}

// outgrownMedium is a medium that became larger since its tail was written; nil if it did
// not, or does not tell.
func (e *extender) outgrownMedium(node string, dev targets.DevNo, size targets.Sectors) *plan.Medium {
	f, err := e.kernel.Open(node, unix.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, layout.Align)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil
	}
	if l, _, err := layout.Decode(b); err != nil || l.Medium == size.Bytes() {
		return nil
	}
	return &plan.Medium{Path: node, Dev: dev}
}

// readFurther looks up a device on which a store may continue.
func (e *extender) readFurther(request *plan.ExtendRequest) error {
	r, set, ours := e.request, e.set, e.ours.View
	if r.Store == "" {
		return nil
	}
	if len(request.Volumes) != 1 {
		return plan.Refuse(plan.Usage, r.Store, "name the volume with --volume", "set %s has several volumes, and a store serves only one", set.Name)
	}
	kind, err := store.Parse(r.Store)
	if err != nil {
		return err
	}
	v := set.Volumes[slices.IndexFunc(set.Volumes, func(v Volume) bool { return v.Name == request.Volumes[0].Name })]
	if v.OriginDevno == (DevNo{}) {
		return plan.Refuse(plan.NotFound, "", "remove the set", "the origin of volume %s is not known", v.Name)
	}
	origin, err := e.read.Origin(v.Origin, v.OriginDevno, ours)
	if err != nil {
		return err
	}
	mounted, err := allMounts(e.kernel)
	if err != nil {
		return err
	}
	h := &store.Host{Read: e.read, Ours: ours, Mounts: mounted.Table, Origins: []plan.Origin{origin}}
	found, err := kind.Inspect(h, origin)
	request.Volumes[0].Further = &found
	return err
}
