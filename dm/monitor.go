package dm

import (
	"cmp"
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

// MonitorRequest says how stores are watched. The zero value works.
type MonitorRequest struct {
	// Threshold is how full a store may be, in percent, before it grows. Zero: 70.
	Threshold int
	// Step is what a store gets at least; a share is one of the origin. Zero: half
	// of what it has. Under load it gets what the next 20 seconds will need.
	Step Size
	// Limit is the size that no store grows beyond; a share is one of the origin.
	// Zero: what it can ever need.
	Limit Size
	// Spill are unused devices, which are overwritten: a store whose own device is
	// used up goes on with the first that is free.
	Spill []string
	// FlattenDepth is how many others an image may read through before what is left of
	// removed sets is flattened (RemoveRequest.Flatten), FlattenRate how fast is copied
	// for that. Zero: 16, and 16 MiB a second.
	FlattenDepth int
	FlattenRate  Rate
	// Interval is the longest time between two looks at everything. Zero: 10 s.
	Interval time.Duration
	// Events gets what happens, Look what there is after each look at everything.
	// They are called by the goroutine that watches, which waits for them.
	Events func(Event)
	Look   func([]Set)
}

const (
	defaultThreshold = 70
	defaultInterval  = 10 * time.Second
	// pollSlice bounds how late a cancelled context is seen.
	pollSlice = 250 * time.Millisecond
)

func (r MonitorRequest) withDefaults() MonitorRequest {
	r.Threshold = cmp.Or(r.Threshold, defaultThreshold)
	r.Interval = cmp.Or(r.Interval, defaultInterval)
	r.FlattenDepth, r.FlattenRate = cmp.Or(r.FlattenDepth, defaultFlattenDepth), cmp.Or(r.FlattenRate, defaultFlattenRate)
	if r.Events == nil {
		r.Events = func(Event) {}
	}
	if r.Look == nil {
		r.Look = func([]Set) {}
	}
	return r
}

// Monitor watches the stores of all sets, those made later too, and makes them
// grow, until ctx ends; then it returns nil. The kernel tells when an image was
// dropped, but not how full its store is: that is asked for, the more often the
// less room is left for the rate at which chunks are copied.
//
// One process watches for a state directory: a second gets CodeLocked. A monitor
// that dies leaves nothing undone that the next command would not end.
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

func monitored(state journal.Dir) (bool, error) {
	owner, err := state.Owner(journal.MonitorKey)
	return owner != nil, err
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
	w := &watch{session: s, r: r, news: make(chan Event)}
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	beside.Go(func() { w.endLeases(ctx) })
	beside.Go(func() { w.flattenDeepChains(ctx) })
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

// watch is one Monitor at work.
type watch struct {
	*session
	r       MonitorRequest
	volumes []*watched
	until   time.Time  // of the next survey
	news    chan Event // of who works beside
}

// endLeases removes sets whose leases are over. That may have to wait for who
// uses them, and stores must not wait for that.
func (w *watch) endLeases(ctx context.Context) {
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

// announce gives an event to the goroutine that watches.
func (w *watch) announce(ctx context.Context, e Event) {
	select {
	case w.news <- e:
	case <-ctx.Done():
	}
}

// scanAll looks at everything. Events are forgotten before, so that none is
// missed.
func (w *watch) scanAll(ctx context.Context) error {
	if err := w.ctl.ArmPoll(); err != nil {
		return err
	}
	w.until = time.Now().Add(w.r.Interval)
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
			x := &watched{image: image}
			if at := slices.IndexFunc(old, func(o *watched) bool { return o.image == image }); at >= 0 {
				x = old[at]
			}
			w.volumes = append(w.volumes, x)
			if vol.State == StateBypassed && x.told != vol.State {
				if passing, err := w.passing(set.Name, image); err != nil {
					return err
				} else if passing {
					x.state = StateBroken // so that nobody makes it grow
					w.until = time.Now().Add(pollSlice)
					continue
				}
			}
			w.condition(x, set.Name, vol)
		}
	}
	w.r.Look(sets)
	return w.growDue(ctx)
}

// passing tells whether an image looks bypassed only because its set is being
// removed: its front has its own table back a moment before the image goes. A
// removal that has ended since the first look is seen by a second one.
func (w *watch) passing(set string, image ioctl.ID) (bool, error) {
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

// pollStores measures each store when it is due, until something happens to any
// device or the next survey is due.
func (w *watch) pollStores(ctx context.Context) error {
	for now := time.Now(); ctx.Err() == nil && now.Before(w.until); now = time.Now() {
		next := w.until
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

// growDue measures the stores that are due and makes those grow that need it. It
// passes on what happened beside.
func (w *watch) growDue(ctx context.Context) error {
	select {
	case n := <-w.news:
		w.r.Events(n)
	default:
	}
	for _, x := range w.volumes {
		if !x.growable() || time.Now().Before(x.due) || ctx.Err() != nil {
			continue
		}
		if err := w.measure(x); err != nil {
			return err
		}
		if !x.growable() {
			w.until = time.Time{} // it was dropped: look what became of it
			return nil
		}
		if x.used*100 >= x.size*uint64(w.r.Threshold) {
			w.grow(ctx, x)
		}
		x.due = time.Now().Add(x.pollInterval(w.r.Threshold, w.r.Interval))
	}
	return nil
}

// measure asks the kernel how full a store is.
func (w *watch) measure(x *watched) error {
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
	x.measured(time.Now(), st.Used.Bytes(), st.Total.Bytes())
	return nil
}

// grow gives a store what it will need soon.
func (w *watch) grow(ctx context.Context, x *watched) {
	if !x.low {
		w.tell(x, EventLow, "")
		x.low = true
	}
	want, limit := x.wanted(w.r), w.r.Limit.Of(x.origin)
	if !w.r.Limit.IsZero() {
		want = min(want, limit)
	}
	if want <= x.size {
		w.full(x, "it has reached its limit")
		return
	}
	err := w.growOn(ctx, x, want)
	switch code := CodeOf(err); {
	case err == nil:
		x.low, x.stuck = false, false
		if merr := w.measure(x); merr == nil {
			w.tell(x, EventGrown, "")
		}
	case code == CodeLocked, ctx.Err() != nil: // somebody is at the set; soon again
	case code == CodeNoSpace:
		w.full(x, err.Error())
	case !x.stuck:
		w.tell(x, EventFailed, err.Error())
		x.stuck = true
	}
}

// growOn tries the store's own device first, then those it may go on with.
func (w *watch) growOn(ctx context.Context, x *watched, want uint64) error {
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

func (w *watch) full(x *watched, why string) {
	if !x.stuck {
		w.tell(x, EventFull, why)
		x.stuck = true
	}
}

func (w *watch) tell(x *watched, kind EventKind, why string) {
	n := Event{Time: time.Now().UTC(), Kind: kind, Set: x.set, Volume: x.name, SizeBytes: x.size, Reason: why, ReadBy: x.readBy}
	if x.state == StateActive {
		used := x.used
		n.UsedBytes = &used
	}
	w.r.Events(n)
}

// condition takes over what a survey found, and tells of what has become bad.
func (w *watch) condition(x *watched, set string, v Volume) {
	before := x.told
	x.set, x.name, x.state, x.told = set, v.Name, v.State, v.State
	x.origin, x.chunk, x.size = v.SizeBytes, v.ChunkBytes, v.Store.SizeBytes
	x.readBy, x.settled = v.ReadBy, v.ReadsThrough != ""
	if before == v.State {
		return
	}
	switch v.State {
	case StateOverflow:
		w.tell(x, EventFull, v.Reason)
	case StateInvalid:
		w.tell(x, EventInvalid, v.Reason)
	case StateBypassed:
		w.tell(x, EventBypassed, v.Reason)
	}
}
