package dm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Monitor grows the stores of all sets before they fill up, those of later sets too,
// until ctx ends; then it returns nil. The kernel reports that an image was dropped,
// but not how full its store is. So stores are polled, more often the faster they fill
// and the less room they have left.
//
// There is one monitor per state directory: a second gets CodeLocked. What a monitor
// that was killed leaves unfinished, the next command finishes.
func (m *Manager) Monitor(ctx context.Context, r MonitorRequest) error {
	s, err := m.open("monitor", "")
	if err != nil {
		return err
	}
	defer s.close()
	return s.fail(s.monitor(ctx, r.withDefaults()))
}

// Monitored tells whether a Monitor runs for this state directory.
func (m *Manager) Monitored() (bool, error) {
	return monitored(m.state)
}

func (s *session) monitor(ctx context.Context, r MonitorRequest) error {
	if r.Threshold < 1 || r.Threshold > 99 {
		return plan.Refuse(plan.Usage, "", "use 1 to 99 percent", "threshold %d is not a percentage from 1 to 99", r.Threshold)
	}
	if err := s.state.Init(); err != nil {
		return err
	}
	locks, err := s.state.Lock(ownPID(), journal.MonitorKey)
	if err != nil {
		return err
	}
	defer s.unlock(locks)
	w := &monitorRun{session: s, r: r, fromOthers: make(chan Event)}
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	beside.Go(func() { w.endLeases(ctx) })
	beside.Go(func() {
		(&chainFlattener{sets: s.sets, request: r, log: s.log, remove: s.Remove, announce: w.announce, tried: map[string]bool{}}).run(ctx)
	})
	for ctx.Err() == nil {
		if err := w.scanAll(ctx); err != nil {
			return err
		}
		if err := w.pollStores(ctx); err != nil {
			return err
		}
	}
	return nil
}

// monitorRun is one Monitor at work.
type monitorRun struct {
	*session
	r          MonitorRequest
	volumes    []*monitoredVolume
	nextScan   time.Time
	fromOthers chan Event // of endLeases and flattenDeepChains
}

// endLeases removes sets whose leases have ended. It has a goroutine of its own: a
// removal may wait for users of an image, and stores must not wait to grow.
func (w *monitorRun) endLeases(ctx context.Context) {
	for {
		names, err := w.Expire(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.Warn("a lease has ended, but its set could not be removed", "error", err)
		}
		for _, name := range names {
			w.announce(ctx, setEvent(EventExpired, name))
		}
		select {
		case <-time.After(w.r.Interval):
		case <-ctx.Done():
			return
		}
	}
}

// announce passes an event of another goroutine to that of Monitor.
func (w *monitorRun) announce(ctx context.Context, e Event) {
	select {
	case w.fromOthers <- e:
	case <-ctx.Done():
	}
}

// scanAll reads the state of all sets. Events are forgotten before it, not after, so
// that one that comes meanwhile causes another scan.
func (w *monitorRun) scanAll(ctx context.Context) error {
	if err := w.ctl.ArmPoll(); err != nil {
		return err
	}
	w.nextScan = time.Now().Add(w.r.Interval)
	v, err := w.sets.scanDevices()
	if err != nil {
		return err
	}
	sets := v.sets()
	old := w.volumes
	w.volumes = nil
	for _, set := range sets {
		for _, vol := range set.Volumes {
			image := vol.snapshot
			x := &monitoredVolume{image: image}
			if at := slices.IndexFunc(old, func(o *monitoredVolume) bool { return o.image == image }); at >= 0 {
				x = old[at]
			}
			w.volumes = append(w.volumes, x)
			if vol.State == StateBypassed && x.reported != vol.State {
				if passing, err := w.isBeingRemoved(set.Name, image); err != nil {
					return err
				} else if passing {
					x.state = StateBroken // so that it does not grow
					w.nextScan = time.Now().Add(pollSlice)
					continue
				}
			}
			w.noteState(x, set.Name, vol)
		}
	}
	w.r.Look(sets)
	return w.growDue(ctx)
}

// isBeingRemoved reports whether an image seems bypassed only because its set is being
// removed: the front gets its own table back before the image is removed. A second scan
// finds out whether a removal has ended since the first one.
func (w *monitorRun) isBeingRemoved(set string, image ioctl.ID) (bool, error) {
	if owner, err := w.state.Owner(journal.SetKey(set)); err != nil || owner != nil {
		return owner != nil, err
	}
	v, err := w.sets.scanDevices()
	if err != nil {
		return false, err
	}
	for _, s := range v.sets() {
		for _, vol := range s.Volumes {
			if vol.snapshot == image {
				return vol.State != StateBypassed, nil
			}
		}
	}
	return true, nil
}

// pollStores measures each store when it is due, until the kernel reports an event or
// the next scan is due.
func (w *monitorRun) pollStores(ctx context.Context) error {
	for now := time.Now(); ctx.Err() == nil && now.Before(w.nextScan); now = time.Now() {
		next := w.nextScan
		for _, x := range w.volumes {
			if x.growable() && x.due.Before(next) {
				next = x.due
			}
		}
		event, err := w.ctl.Poll(min(max(0, next.Sub(now)), pollSlice))
		if err != nil || event {
			return err
		}
		if err := w.growDue(ctx); err != nil {
			return err
		}
	}
	return nil
}

// growDue measures the stores that are due and grows those that need it. It also passes
// on an event of the other goroutines.
func (w *monitorRun) growDue(ctx context.Context) error {
	select {
	case n := <-w.fromOthers:
		w.r.Events(n)
	default:
	}
	for _, x := range w.volumes {
		if !x.growable() || time.Now().Before(x.due) || ctx.Err() != nil {
			continue
		}
		if err := w.measureStore(x); err != nil {
			return err
		}
		if !x.growable() {
			w.nextScan = time.Time{} // the image was dropped: scan why
			return nil
		}
		if x.store.Used*100 >= x.store.Size*uint64(w.r.Threshold) {
			w.growStore(ctx, x)
		}
		x.due = time.Now().Add(x.store.Interval(w.r.Threshold, w.r.Interval))
	}
	return nil
}

// measureStore reads from the kernel how full a store is.
func (w *monitorRun) measureStore(x *monitoredVolume) error {
	_, specs, err := w.ctl.TargetStatus(x.image, 0)
	if errors.Is(err, ioctl.ErrNotFound) {
		x.state = StateBroken
		return nil
	}
	if err != nil || len(specs) != 1 {
		return err
	}
	st, err := targets.ParseSnapshotStatus(specs[0].Params)
	if err != nil {
		return err
	}
	if st.State != targets.Active {
		x.state = StateInvalid
		return nil
	}
	x.store.Add(time.Now(), st.Used.Bytes(), st.Total.Bytes())
	return nil
}

// growStore extends a store to what it will need soon.
func (w *monitorRun) growStore(ctx context.Context, x *monitoredVolume) {
	if !x.low {
		w.sendEvent(x, EventLow, "")
		x.low = true
	}
	want, limit := x.store.Wanted(w.r.Step.Of(x.store.Origin)), w.r.Limit.Of(x.store.Origin)
	if !w.r.Limit.IsZero() {
		want = min(want, limit)
	}
	if want <= x.store.Size {
		w.noteFull(x, "it has reached its limit")
		return
	}
	err := w.growOn(ctx, x, want)
	switch code := CodeOf(err); {
	case err == nil:
		x.low, x.store.Stuck = false, false
		if merr := w.measureStore(x); merr == nil {
			w.sendEvent(x, EventGrown, "")
		}
	case code == CodeLocked, ctx.Err() != nil: // another operation works on the set: try again soon
	case code == CodeNoSpace:
		w.noteFull(x, err.Error())
	case !x.store.Stuck:
		w.sendEvent(x, EventFailed, err.Error())
		x.store.Stuck = true
	}
}

// growOn tries the store's own device first, then the spill devices.
func (w *monitorRun) growOn(ctx context.Context, x *monitoredVolume, want uint64) error {
	r := ExtendRequest{Name: x.set, Volumes: []string{x.name}, Size: Size{Bytes: want}, Partly: true}
	err := w.fail(w.extend(ctx, r))
	for _, r.Store = range w.r.Spill {
		if CodeOf(err) != CodeNoSpace {
			return err
		}
		if more := w.fail(w.extend(ctx, r)); more != nil {
			w.log.Debug("a store cannot continue on this device", "volume", x.name, "device", r.Store, "error", more)
			continue
		}
		return nil
	}
	return err
}

func (w *monitorRun) noteFull(x *monitoredVolume, why string) {
	if !x.store.Stuck {
		w.sendEvent(x, EventFull, why)
		x.store.Stuck = true
	}
}

func (w *monitorRun) sendEvent(x *monitoredVolume, kind EventKind, why string) {
	n := Event{Time: time.Now().UTC(), Kind: kind, Set: x.set, Volume: x.name, SizeBytes: x.store.Size, Reason: why, ReadBy: x.readBy}
	if x.state == StateActive {
		used := x.store.Used
		n.UsedBytes = &used
	}
	w.r.Events(n)
}

// noteState takes over the state that a scan found, and sends an event if it became
// worse.
func (w *monitorRun) noteState(x *monitoredVolume, set string, v Volume) {
	before := x.reported
	x.set, x.name, x.state, x.reported = set, v.Name, v.State, v.State
	x.store.Origin, x.store.Chunk, x.store.Size = v.SizeBytes, v.ChunkBytes, v.Store.SizeBytes
	x.readBy, x.stopped = v.ReadBy, v.ReadsThrough != ""
	if before == v.State {
		return
	}
	switch v.State {
	case StateOverflow:
		w.sendEvent(x, EventFull, v.Reason)
	case StateInvalid:
		w.sendEvent(x, EventInvalid, v.Reason)
	case StateBypassed:
		w.sendEvent(x, EventBypassed, v.Reason)
	case StateBroken:
		if v.gone {
			w.sendEvent(x, EventGone, v.Reason)
		}
	}
}
