package dm

import (
	"context"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// BookmarkRequest names a set of which only the list of changed chunks is to be kept.
type BookmarkRequest struct {
	Name string
}

// Bookmark drops the images of a set and what its stores have of the past. What is kept
// is which chunks were written since its cut, and it goes on being recorded: Changed tells what
// differs since then in an image that is cut later. The stores cannot overflow any more. A
// bookmark is never read, mounted or flattened; Remove removes it.
//
// The set must be persistent, whole and unused, its images read-only, and no older set may
// read through it. A set that is a bookmark already stays one. A Bookmark that fails has changed nothing, unless its code is CodePartial:
// then the same call, or Recover, continues.
func (m *Manager) Bookmark(ctx context.Context, r BookmarkRequest) (set *Set, err error) {
	s, err := m.open("bookmark", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	b := &bookmarking{session: s, name: r.Name}
	if _, err := s.perform(ctx, change{look: b.look, plan: b.plan, commit: b.commit, leases: true, spare: r.Name}); err != nil {
		return nil, s.fail(err)
	}
	if set, err = s.sets.show(r.Name); err != nil {
		return nil, s.fail(&run.PartialError{Err: err}) // it is a bookmark
	}
	return set, nil
}

// PlanBookmark returns the steps Bookmark would take, and changes nothing.
func (m *Manager) PlanBookmark(_ context.Context, r BookmarkRequest) (p *Plan, err error) {
	s, err := m.open("bookmark", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	b := &bookmarking{session: s, name: r.Name}
	if _, err := b.look(); err != nil {
		return nil, s.fail(err)
	}
	planned, err := b.steps()
	if err != nil {
		return nil, s.fail(err)
	}
	return redactedPlan(planned), nil
}

// bookmarking makes a bookmark of a set.
type bookmarking struct {
	*session
	name, id string
	ours     *view
	set      *Set
	rest     plan.RemoveRequest
}

// look finds the set. Its origins are locked, so that nothing is chained onto it meanwhile.
func (b *bookmarking) look() (keys []string, err error) {
	if b.ours, err = b.sets.scanDevices(); err != nil {
		return nil, err
	}
	if b.set, err = pickSet(b.ours.sets(), b.name); err != nil {
		return nil, err
	}
	b.id = b.set.UUID
	b.rest, err = b.remains.Removal(b.ours.View, b.name, b.id)
	return setKeys(b.rest), err
}

func (b *bookmarking) plan(ctx context.Context) (*plan.Plan, error) {
	if b.set.Bookmark {
		return nil, nil
	}
	p, err := b.steps()
	if err != nil {
		return nil, err
	}
	ours, err := b.endChains(b.ours.View, b.id)
	if err == nil {
		_, err = (&removal{session: b.session, name: b.name, id: b.id}).waitIdle(ctx, ours)
	}
	return p, err
}

// commit: the tables say it all.
func (b *bookmarking) commit(context.Context, done) error { return nil }

// steps refuses what cannot be a bookmark. One that is already needs none.
func (b *bookmarking) steps() (*plan.Plan, error) {
	if b.set.Bookmark {
		return &plan.Plan{Op: "bookmark", Set: b.name, ID: b.id}, nil
	}
	for _, vol := range b.set.Volumes {
		if err := b.check(vol); err != nil {
			return nil, err
		}
	}
	return bookmarkPlan(b.ours.View, b.rest)
}

func (b *bookmarking) check(vol Volume) error {
	refuse := func(kind plan.Kind, hint, format string, args ...any) error {
		return plan.Refuse(kind, vol.Device, hint, format, args...)
	}
	snap := b.ours.Snapshot(b.id, vol.number)
	switch {
	case vol.State != StateActive || snap == nil:
		return unusableError(vol)
	case b.ours.Member(b.id, vol.number, plan.RoleCore) == nil:
		return refuse(plan.Unsupported, "take a set with --persistent", "volume %s has no core: its set is not persistent", vol.Name)
	case !vol.persistent:
		return refuse(plan.Unsupported, "take a set with --persistent", "the exceptions of volume %s are in memory only: its set is not persistent", vol.Name)
	case vol.Writable || !snap.Info.ReadOnly:
		return refuse(plan.Unsupported, "take a read-only set", "the image of volume %s is writable", vol.Name)
	}
	for _, reader := range b.ours.ReadBy(*snap) {
		if !bookmarked(b.ours.View, reader) {
			return refuse(plan.Busy, "remove that set first, or make a bookmark of it", "%s reads through the image of volume %s", reader.Name, vol.Name)
		}
	}
	return nil
}

// bookmarked tells whether a snapshot keeps records only.
func bookmarked(v *stack.View, snap stack.Device) bool {
	st := v.Store(snap)
	return st != nil && plan.Hollow(st.Table)
}

// bookmarkRequest is a set as it is, or what an interrupted operation left to be done.
func bookmarkRequest(v *stack.View, name, id string, files map[int][]*plan.File) plan.BookmarkRequest {
	r := plan.BookmarkRequest{Set: name, ID: id}
	for i := range v.Volumes(id) {
		snap, st := v.Member(id, i, plan.RoleCore), v.Member(id, i, plan.RoleStore)
		if snap == nil || st == nil {
			continue
		}
		table, _ := targets.Only[targets.Snapshot](snap.Table)
		vol := plan.BookmarkVolume{Name: snap.Name, Chunk: table.Chunk, Origin: snap.Table.Size()}
		if len(files[i]) > 0 {
			vol.File = files[i][0]
		}
		if image := v.Member(id, i, plan.RoleImage); image != nil {
			vol.Image = image.Name
		}
		if !plan.Hollow(st.Table) {
			vol.Store, vol.Table = st.Name, st.Table
		}
		r.Volumes = append(r.Volumes, vol)
	}
	return r
}

// bookmarkPlan names the origins, too: what is chained onto a set must wait for it.
func bookmarkPlan(v *stack.View, rest plan.RemoveRequest) (*plan.Plan, error) {
	files := map[int][]*plan.File{}
	for _, vol := range rest.Volumes {
		files[vol.Number] = append(files[vol.Number], vol.Files...)
	}
	p, err := plan.Bookmark(bookmarkRequest(v, rest.Set, rest.ID, files))
	if err != nil {
		return nil, err
	}
	for _, vol := range rest.Volumes {
		p.Volumes = append(p.Volumes, plan.Volume{Front: vol.Origin.Name, Origin: vol.Origin})
	}
	return p, nil
}

// recoverBookmark ends an interrupted bookmark: forward once an image is gone, else back.
func (s *recovery) recoverBookmark(ctx context.Context, i journal.Intent) error {
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	begun := func(v plan.BookmarkVolume) bool { return v.Image == "" || v.Store == "" }
	forward := slices.ContainsFunc(bookmarkRequest(ours, i.Set, i.ID, nil).Volumes, begun)
	for d := range ours.Devices() {
		if d.ID != i.ID || d.Role != plan.RoleStore || !d.Info.Live {
			continue
		}
		end := slot.Drop
		if !forward {
			end = slot.Renew // its slot may have been cleared in haste
		}
		if err := end(s.ctl, ioctl.ID{Dev: d.Dev}, ioctl.Hidden); err != nil {
			return err
		}
	}
	if forward {
		err = s.carryOut(ctx, change{
			plan: func(context.Context) (*plan.Plan, error) {
				ours, err := s.read.Look()
				if err != nil {
					return nil, err
				}
				rest, err := s.remains.Removal(ours, i.Set, i.ID)
				if err != nil {
					return nil, err
				}
				return bookmarkPlan(ours, rest)
			},
			commit:  func(context.Context, done) error { return nil },
			covered: true,
		})
	}
	if err != nil {
		return err
	}
	return s.state.End(i)
}
