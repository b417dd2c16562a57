package dm

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Recovered is what Recover did.
type Recovered struct {
	Sets []string `json:"sets"` // names of the sets it took down
}

// Recover ends what was interrupted: a create that did not reach its end is
// taken back, a remove is completed, and devices of ours that belong to no
// operation and no record are taken down. Operations that are under way are left
// alone.
func (m *Manager) Recover(ctx context.Context) (r *Recovered, err error) {
	s, err := m.open("recover", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	r = &Recovered{Sets: []string{}}
	return r, s.fail(s.recover(ctx, r))
}

func (s *session) recover(ctx context.Context, r *Recovered) error {
	if err := s.state.Init(); err != nil {
		return err
	}
	if err := s.recoverIntents(ctx, r); err != nil {
		return err
	}
	return s.recoverBases(ctx, r)
}

// recoverIntent takes an interrupted operation down, if nobody is at it.
func (s *session) recoverIntent(ctx context.Context, i journal.Intent) (down bool, err error) {
	boot, err := s.bootID()
	if err != nil {
		return false, err
	}
	// Writers first, and before any file is written: the state directory itself
	// may lie on what is frozen.
	if i.BootID == boot && !s.kernel.Alive(i.PID) {
		if err := s.letGo(ctx, i); err != nil {
			return false, err
		}
	}
	keys := []string{journal.SetKey(i.Set)}
	for _, o := range i.Origins {
		keys = append(keys, journal.OriginKey(o))
	}
	locks, err := s.state.Lock(ownPID(), keys...)
	if _, held := errors.AsType[*journal.LockedError](err); held {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer s.release(locks)
	if i.BootID == boot {
		if err := s.letGo(ctx, i); err != nil {
			return false, err
		}
	}
	return s.finishIntent(ctx, i)
}

// finishIntent: a create whose record was written is complete but for its
// intent; everything else comes down. The locks are held.
func (s *session) finishIntent(ctx context.Context, i journal.Intent) (down bool, err error) {
	if set, err := s.state.LoadSet(i.Set); err == nil && i.Op == "create" && set.ID == i.ID {
		return false, s.state.End(i)
	}
	last := func() error { return nil }
	if i.Op == "remove" {
		last = s.dropRecord(i.Set)
	}
	if err := s.teardown(ctx, i.Set, i.ID, last); err != nil {
		return false, err
	}
	return true, s.state.End(i)
}

// letGo ends the window of an operation that died in it: fronts that carry our
// layer, live or waiting, run again with the table they have; then what was
// frozen is thawed, which would never return above a suspended front.
func (s *session) letGo(ctx context.Context, i journal.Intent) error {
	ours, err := s.read.Ours()
	if err != nil {
		return err
	}
	for _, d := range ours {
		if d.Role != plan.RoleBase || !slices.Contains(i.Bases, d.Name) {
			continue
		}
		if err := s.runFront(d); err != nil {
			return err
		}
	}
	if i.Freezes {
		if err := s.thaw(ctx, i); err != nil {
			return err
		}
	}
	if i.Cookie != "" {
		return s.kernel.RemoveCookie(i.Cookie)
	}
	return nil
}

func (s *session) runFront(base stack.Device) error {
	live, pending, err := s.read.Front(base.Dev)
	if err != nil {
		return err
	}
	if pending != nil {
		if err := s.ctl.Clear(ioctl.ID{Dev: pending.Dev}); err != nil {
			return err
		}
	}
	front := cmp.Or(live, pending)
	if front == nil || !front.Suspended {
		return nil
	}
	_, err = s.ctl.Resume(ioctl.ID{Dev: front.Dev}, ioctl.SkipLockFS, ioctl.FlagsOnly(ioctl.PrimarySource))
	return err
}

// thaw ends the freezes of an operation that died inside its window.
func (s *session) thaw(ctx context.Context, i journal.Intent) error {
	mounted, err := s.mounts()
	if err != nil {
		return err
	}
	var devices []freeze.Device
	for _, o := range i.Origins {
		front, err := targets.ParseDevNo(o)
		if err != nil {
			return err
		}
		above, err := s.read.Above(front)
		if err != nil {
			return err
		}
		for _, d := range above {
			devices = append(devices, freeze.Device{DevNo: ioctl.DevNo(d), Front: d == front})
		}
	}
	thawed, err := freeze.Rescue(ctx, s.kernel, mounted.Plan(devices...))
	if len(thawed) > 0 {
		s.log.Warn("thawed what an interrupted operation had frozen", "mountpoints", thawed)
	}
	return err
}

// recoverIntents ends all interrupted operations.
func (s *session) recoverIntents(ctx context.Context, r *Recovered) error {
	intents, err := s.state.Intents()
	if err != nil {
		s.log.Warn("an entry of the journal cannot be read; the others are used", "error", err)
	}
	for _, i := range intents {
		done, err := s.recoverIntent(ctx, i)
		if err != nil {
			return err
		}
		if done {
			r.Sets = append(r.Sets, i.Set)
		}
	}
	return nil
}

// recoverInterrupted is what every operation does before its own work.
func (s *session) recoverInterrupted(ctx context.Context) (r Recovered, err error) {
	if err := s.state.Init(); err != nil {
		return r, err
	}
	return r, s.recoverIntents(ctx, &r)
}

// recoverBases takes down bases that no image stands on and no operation under
// way is about to use.
func (s *session) recoverBases(ctx context.Context, r *Recovered) error {
	ours, err := s.read.Ours()
	if err != nil {
		return err
	}
	intents, err := s.state.Intents()
	if err != nil {
		return err
	}
	for _, d := range ours {
		underWay := slices.ContainsFunc(intents, func(i journal.Intent) bool { return slices.Contains(i.Bases, d.Name) })
		if d.Role != plan.RoleBase || underWay || len(stack.NewBase(d, ours).Images) > 0 {
			continue
		}
		if err := s.recoverBase(ctx, d, ours); err != nil {
			return err
		}
		r.Sets = append(r.Sets, d.Name)
	}
	return nil
}

func (s *session) recoverBase(ctx context.Context, base stack.Device, ours []stack.Device) error {
	v := plan.RemoveVolume{}
	if err := s.remainsFront(&v, base, "", ours); err != nil {
		return err
	}
	var keys []string
	if v.Origin.Name != "" {
		keys = append(keys, journal.OriginKey(v.Origin.Dev.String()))
	}
	locks, err := s.state.Lock(ownPID(), keys...)
	if err != nil {
		return err
	}
	defer s.release(locks)
	p := plan.Remove(plan.RemoveRequest{Volumes: []plan.RemoveVolume{v}})
	_, err = s.runner(&facts{}, CreateRequest{}).Run(ctx, p)
	return err
}
