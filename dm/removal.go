package dm

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

func (s *session) remove(ctx context.Context, name string) error {
	return (&removal{session: s, name: name}).run(ctx, true)
}

// removal takes down a set that a user, or the end of its lease, wants to go.
type removal struct {
	*session
	name, id string // the first set found by that name is meant, and no later one
	// still asks under the lock whether the set is to go; nil: it is.
	still func() error
	ours  *stack.View
	rest  plan.RemoveRequest
}

func (r *removal) run(ctx context.Context, leases bool) error {
	ended, err := r.perform(ctx, change{
		look: r.look, plan: r.plan, intentWritten: r.intentWritten, commit: r.commit,
		leases: leases, spare: r.name,
	})
	if isNoSet(err) && slices.Contains(ended, r.name) {
		return nil // that was its removal, interrupted before
	}
	return err
}

func (r *removal) look() (keys []string, err error) {
	v, err := r.sets.scanDevices()
	if err != nil {
		return nil, err
	}
	r.ours = v.View
	id, err := v.find(r.name)
	if err == nil && r.id != "" && id != r.id {
		err = noSet(r.name) // another one has its name by now
	}
	if err == nil {
		err = v.checkRemovable(r.name)
	}
	if err == nil { // it goes last, when nothing can be put back, and tells of the set's files
		err = r.state.Droppable(r.name)
	}
	if err != nil {
		return nil, err
	}
	r.id = id
	if r.still != nil {
		if err := r.still(); err != nil {
			return nil, err
		}
	}
	r.rest, err = r.remains.Removal(r.ours, r.name, id)
	return setKeys(r.rest), err
}

// checkRemovable refuses the leftover of a removed set: it is removed with its last
// reader.
func (v *view) checkRemovable(name string) error {
	if !plan.IsLayer(name) {
		return nil
	}
	set, err := pickSet(v.sets(), name)
	if err != nil {
		return err
	}
	var readers []string
	for _, v := range set.Volumes {
		readers = append(readers, v.ReadBy...)
	}
	if len(readers) == 0 {
		return nil // a reboot ended those
	}
	slices.Sort(readers)
	return plan.Refuse(plan.Busy, "", "it is removed with the last of them",
		"%s is the leftover of a removed set, still read by %s", name, strings.Join(slices.Compact(readers), ", "))
}

func (r *removal) plan(ctx context.Context) (*plan.Plan, error) {
	ours, err := r.endChains(r.ours, r.id)
	if err != nil {
		return nil, err
	}
	if ours, err = r.waitIdle(ctx, ours); err != nil {
		return nil, err
	}
	if ours != r.ours {
		r.rest, err = r.remains.Removal(ours, r.name, r.id)
	}
	return removalPlan(r.rest), err
}

func (r *removal) intentWritten(*done) error { return r.keepRecord() }

// keepRecord writes the record of what stays of a set that others read through:
// its files cannot be found by tables. It is on disk before anything is renamed.
func (r *removal) keepRecord() error {
	if plan.IsLayer(r.name) || !slices.ContainsFunc(r.rest.Volumes, func(v plan.RemoveVolume) bool { return len(v.ReadBy) > 0 }) {
		return nil
	}
	set, err := r.state.LoadSet(r.name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && set.ID != r.id {
		return nil // the tables are all there is
	}
	if err != nil {
		return err
	}
	set.Name, set.Labels, set.Lease, set.LeaseEnd, set.LeaseStart, set.Held = plan.LayerName(r.id), nil, "", 0, "", false
	for i := range set.Volumes {
		stays := func(v plan.RemoveVolume) bool { return v.Number == i && len(v.ReadBy) > 0 }
		if !slices.ContainsFunc(r.rest.Volumes, stays) {
			set.Volumes[i].StoreFile, set.Volumes[i].MoreFiles = nil, nil // deleted with its volume
		}
	}
	return r.state.SaveSet(set)
}

// commit comes last. The intent outlives it: a record without devices would be a
// broken set for ever.
func (r *removal) commit(context.Context, done) error {
	if err := r.state.DropSet(r.name, r.id); err != nil {
		return &run.PartialError{Err: err}
	}
	return nil
}

// removalPlan is the plan of a removal with what its intent has to tell of.
func removalPlan(r plan.RemoveRequest) *plan.Plan {
	p := plan.Remove(r)
	for _, v := range r.Volumes {
		pv := plan.Volume{Front: v.Origin.Name, Origin: v.Origin}
		if v.Origin.Base != nil && v.Last {
			pv.Base = v.Origin.Base.Name
		}
		p.Volumes = append(p.Volumes, pv)
	}
	return p
}

// waitIdle waits until no image is open, for as long as udev may need, and
// names the users otherwise. It is the last moment at which nothing has changed. It
// returns our devices as they are then.
func (r *removal) waitIdle(ctx context.Context, ours *stack.View) (*stack.View, error) {
	end := time.Now().Add(r.opts.BusyTimeout)
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		held := r.busyImage(ours)
		if held == nil {
			return ours, nil
		}
		if time.Now().After(end) || len(held.Holders) > 0 && held.Holders[0].Kind != HolderProcess {
			return nil, &Error{Device: held.Device, Code: CodeBusy, Err: held, Hint: r.freeHint(held)}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
		var err error
		if ours, err = r.read.Look(); err != nil {
			return nil, err
		}
	}
}

// freeHint is how the user gets an image free.
func (r *removal) freeHint(held *BusyError) string {
	for _, h := range held.Holders {
		if h.Kind != HolderMount || h.Namespace != "" {
			return "stop what uses it, then try again"
		}
	}
	return "dmsnap umount " + r.name
}

func (r *removal) busyImage(ours *stack.View) *BusyError {
	for d := range ours.Devices() {
		if d.ID == r.id && d.Role == plan.RoleImage && d.Info.OpenCount > 0 {
			return r.holders().busy("/dev/mapper/"+d.Name, d.Dev)
		}
	}
	return nil
}

// teardown removes whatever there is of a set, with its locks held. It is what
// recover and a create that could not write its record have in common with remove:
// from any state the kernel may be in, it leads to none of the set's devices and
// the origins' own tables. After that it calls last.
func (s *session) teardown(ctx context.Context, name, id string, covered bool, last func() error) error {
	r := &removal{session: s, name: name, id: id}
	return s.carryOut(ctx, change{
		plan: func(context.Context) (*plan.Plan, error) {
			ours, err := s.read.Look()
			if err == nil {
				r.rest, err = s.remains.Removal(ours, name, id)
			}
			r.rest.Unmade = covered
			return removalPlan(r.rest), err
		},
		intentWritten: r.intentWritten, commit: func(context.Context, done) error { return last() }, covered: covered,
	})
}
