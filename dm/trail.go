package dm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/extents"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/targets"
)

// Why a list is right while sets are cut, chained, removed and flattened: an image never
// changes, so two of them differ where they differ at any one instant. Take the
// instant at which the tables were read. Both images are then what the snapshots on
// their ways down have of their own, and where these ways meet they read the same. What a
// snapshot has in memory is on its store before it counts (store.ReadDirect), and it
// never loses any as long as its table stays. So: tables first, records after that, and
// then the tables once more. If they are still the same, the records that were
// read have all that counted at that instant, and maybe some more. If not, all is done
// again: a flattening may have written over records that no longer count.
//
// A volume is gone through in windows. Each is right by itself.

// extentLister makes one list.
type extentLister struct {
	m      *Manager
	op     string
	set    string
	from   uint64
	target member
	since  *member          // nil: what is in use
	free   []extents.Extent // what is not in use, in order
}

// member is a volume of a set, known by its id.
type member struct {
	id     string
	volume int
	set    string // names, for messages
	name   string
}

// trail is what tells in what two images differ, by the tables alone.
type trail struct {
	apart   []recorded       // snapshots that only one of the images reads through
	beneath []recorded       // all that the target reads through, itself included
	own     []extents.Extent // of the stores that lie on the base, in order
	size    uint64
	since   uint64 // size of the other image
	unit    uint64 // the smallest chunk
	largest uint64
	print   []string // tells one trail from another
}

// recorded is a snapshot whose records are on a store.
type recorded struct {
	name  string
	chunk uint64
	lasts bool
	store *stack.Device // nil: none
}

// errUnsettled: somebody is changing tables at this moment.
var errUnsettled = errors.New("its tables are being changed")

func (l *extentLister) full(reason FullReason, format string, args ...any) error {
	return &FullRequired{Reason: reason, Volume: l.target.name, Since: l.since.set, Why: fmt.Sprintf(format, args...)}
}

// list makes the list's description, for which the sets are looked at once.
func (l *extentLister) list(ctx context.Context, describe func(*session, *view) (*ExtentList, error)) (list *ExtentList, err error) {
	s, err := l.m.open(l.op, l.set)
	if err != nil {
		return nil, err
	}
	defer s.close()
	err = s.settled(ctx, func() error {
		v, err := s.sets.look()
		if err == nil {
			list, err = describe(s, v)
		}
		return err
	})
	if err != nil {
		return nil, s.fail(err)
	}
	list.All = func(yield func(Extent, error) bool) { l.all(ctx, list.SizeBytes, yield) }
	return list, nil
}

// all goes through the volume.
func (l *extentLister) all(ctx context.Context, size uint64, yield func(Extent, error) bool) {
	s, err := l.m.open(l.op, l.set)
	if err != nil {
		yield(Extent{}, err)
		return
	}
	defer s.close()
	join := extents.NewJoin(func(e extents.Extent) bool { return yield(Extent{Offset: e.Start, Length: e.End - e.Start}, nil) })
	for at := l.from; at < size; {
		found, next, err := l.window(ctx, s, at)
		if err != nil {
			yield(Extent{}, s.fail(err))
			return
		}
		for e := range extents.Clip(found, extents.Extent{Start: at, End: next}) {
			if !join.Add(e) {
				return
			}
		}
		at = next
	}
	join.End()
}

// window is what is listed from one byte on, up to another, and maybe before.
func (l *extentLister) window(ctx context.Context, s *session, from uint64) (found iter.Seq[extents.Extent], next uint64, err error) {
	err = s.settled(ctx, func() error {
		t, err := l.look(s)
		if err != nil {
			return err
		}
		start := from / t.largest * t.largest
		in := extents.Extent{Start: start, End: min(start+extents.Span(t.unit, t.largest), t.size)}
		next = in.End
		var reading error
		found, reading = l.read(ctx, s, t, in)
		// What could not be read may be gone, or a store may have grown meanwhile.
		if now, err := l.look(s); err != nil {
			return err
		} else if !slices.Equal(now.print, t.print) {
			return errUnsettled
		}
		return reading
	})
	return found, next, err
}

func (l *extentLister) look(s *session) (*trail, error) {
	v, err := s.sets.scanDevices()
	if err != nil {
		return nil, err
	}
	return l.trail(v)
}

// settled repeats what came between two changes of tables, which take a moment each. A
// look takes several calls, and may mix what was with what is: so an error is believed
// only if a second look leads to the same.
func (s *session) settled(ctx context.Context, try func() error) error {
	const tries, pause = 5, 10 * time.Millisecond
	until := time.Now().Add(s.opts.BusyTimeout)
	said := ""
	for n := 1; ; n++ {
		err := try()
		unsettled := errors.Is(err, errUnsettled)
		switch {
		case err == nil, ctx.Err() != nil:
			return cmp.Or(ctx.Err(), err)
		case !unsettled && err.Error() == said:
			return err
		case n >= tries && time.Now().After(until):
			return plan.Refuse(plan.Busy, "", "try again", "%v: another operation, or another program, is at its origin", errUnsettled)
		case !unsettled:
			said = err.Error()
			continue
		}
		said = ""
		select {
		case <-ctx.Done():
		case <-time.After(min(pause, s.opts.BusyTimeout)):
		}
	}
}

// trail follows both images down.
func (l *extentLister) trail(v *view) (*trail, error) {
	way, err := l.way(v, l.target)
	if err != nil {
		return nil, err
	}
	base, _ := v.BaseOf(way[0])
	t := &trail{size: way[0].Table.Size().Bytes()}
	t.since = t.size
	t.add(v, way)
	t.beneath = recordedOf(v, way)
	if l.since != nil {
		if err := l.apart(v, t, way); err != nil {
			return nil, err
		}
	}
	t.own = ownOn(v, base)
	t.print = append(t.print, fmt.Sprint(base, t.own))
	t.units()
	return t, nil
}

// apart follows the other image down to where the two meet.
func (l *extentLister) apart(v *view, t *trail, way []stack.Device) error {
	other, err := l.way(v, *l.since)
	if err != nil {
		return err
	}
	t.add(v, other)
	t.since = other[0].Table.Size().Bytes()
	if t.since > t.size {
		return l.full(FullOriginChanged, "the origin had %d bytes when %s was cut, and %d for %s", t.since, l.since.set, t.size, l.target.set)
	}
	base, _ := v.BaseOf(way[0])
	otherBase, _ := v.BaseOf(other[0])
	ones, others, met := extents.Apart(append(numbers(way), base), append(numbers(other), otherBase))
	if !met {
		return l.full(FullUnknownCursor, "set %s has no image of the same origin", l.since.set)
	}
	t.apart = append(recordedOf(v, way[:len(ones)]), recordedOf(v, other[:len(others)])...)
	for _, r := range t.apart {
		switch {
		case !r.lasts:
			return l.full(FullUnsupported, "the exceptions of %s are in memory only: its set is not persistent", r.name)
		case r.store == nil:
			return l.full(FullTrackerFailed, "%s has no store", r.name)
		}
	}
	return nil
}

// way is an image's snapshot and those it reads through.
func (l *extentLister) way(v *view, m member) ([]stack.Device, error) {
	snap := v.Snapshot(m.id, m.volume)
	if snap == nil {
		return nil, l.lost(m, StateBroken, "it has no device")
	}
	way := append([]stack.Device{*snap}, v.Through(*snap)...)
	base, _ := v.BaseOf(*snap)
	for _, d := range way {
		if d.Info.Suspended && d.Info.Live {
			return nil, errUnsettled
		}
		if state, why := v.imageState(d, base); state != StateActive && state != StateOverflow {
			return nil, l.lost(m, state, why)
		}
	}
	return way, nil
}

// lost is an error of the image that is to be copied, or a reason to copy all of it.
func (l *extentLister) lost(m member, state State, why string) error {
	if l.since != nil && m == *l.since && m != l.target {
		return l.full(FullTrackerFailed, "the image of set %s is %s: %s", m.set, state, why)
	}
	return unusableError(Volume{Device: "/dev/mapper/" + plan.ImageName(m.set, m.name), State: state, Reason: why})
}

func numbers(way []stack.Device) (devs []targets.DevNo) {
	for _, d := range way {
		devs = append(devs, d.Dev)
	}
	return devs
}

func recordedOf(v *view, way []stack.Device) (all []recorded) {
	for _, d := range way {
		snap, _ := targets.Only[targets.Snapshot](d.Table)
		r := recorded{name: d.Name, chunk: snap.Chunk.Bytes(), lasts: plan.Lasts(snap.Mode)}
		if st := v.Store(d); st != nil && !stack.GivenUp(st.Table) {
			r.store = st
		}
		all = append(all, r)
	}
	return all
}

// add notes what must stay as it is while records are read.
func (t *trail) add(v *view, way []stack.Device) {
	for _, d := range way {
		t.print = append(t.print, fmt.Sprint(d.UUID, d.Dev, d.Info.ReadOnly, d.Table))
		if st := v.Store(d); st != nil {
			t.print = append(t.print, fmt.Sprint(st.UUID, st.Dev, st.Table))
		}
	}
}

// units are those of all records that are read.
func (t *trail) units() {
	for _, r := range append(slices.Clip(t.apart), t.masking()...) {
		if t.unit == 0 {
			t.unit = r.chunk
		}
		t.unit, t.largest = min(t.unit, r.chunk), max(t.largest, r.chunk)
	}
	if t.unit == 0 { // no records are read
		t.unit, t.largest = leastUnit, leastUnit
	}
}

// leastUnit is what direct reads need.
const leastUnit = 4096

// ownOn are the parts of a base in which our stores lie.
func ownOn(v *view, base targets.DevNo) (own []extents.Extent) {
	for d := range v.Devices() {
		if d.Role != plan.RoleStore || !d.Info.Live {
			continue
		}
		for _, row := range d.Table {
			if l, ok := row.Target.(targets.Linear); ok && l.Dev.Path == "" && l.Dev.DevNo == base {
				own = append(own, extents.Extent{Start: l.Offset.Bytes(), End: (l.Offset + row.Length).Bytes()})
			}
		}
	}
	slices.SortFunc(own, func(a, b extents.Extent) int { return cmp.Compare(a.Start, b.Start) })
	return own
}

// masking are the snapshots whose records tell which of our own blocks mean something in
// the image. None: nothing is masked.
func (t *trail) masking() []recorded {
	without := func(r recorded) bool { return !r.lasts || r.store == nil }
	if len(t.own) == 0 || slices.ContainsFunc(t.beneath, without) {
		return nil
	}
	return t.beneath
}

// read reads the records. What it returns stays right: it is taken from memory.
func (l *extentLister) read(ctx context.Context, s *session, t *trail, in extents.Extent) (list iter.Seq[extents.Extent], err error) {
	if l.since != nil {
		list, err = l.changedIn(ctx, s, t, in)
	} else {
		list = extents.Without(extents.Of(in), slices.Values(l.free))
	}
	masking := t.masking()
	if err != nil || len(masking) == 0 {
		return list, err
	}
	// A store that lies on the origin is written to beneath the front, where nothing is
	// recorded. What an image needs of such blocks was copied before the store got
	// them; all else in them means nothing in the image.
	copied := extents.NewWindow(in, t.unit)
	if err := l.mark(ctx, s, copied, t, masking); err != nil {
		return nil, err
	}
	return extents.Without(list, extents.Without(slices.Values(t.own), copied.All())), nil
}

// mark marks what some snapshots have of their own.
func (l *extentLister) mark(ctx context.Context, s *session, w *extents.Window, t *trail, all []recorded) error {
	for _, r := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := store.ReadDirect(s.kernel, r.store.Dev, func(f *format.Store) error { return markAll(w, t, r, f) })
		if err != nil {
			return l.unread(r, err)
		}
	}
	return nil
}

func markAll(w *extents.Window, t *trail, r recorded, f *format.Store) error {
	if f.Chunk != r.chunk {
		return &format.DamagedError{Why: fmt.Sprintf("a chunk of %d bytes, not of %d", f.Chunk, r.chunk)}
	}
	for e, err := range f.Exceptions() {
		if err != nil {
			return err
		}
		if e.Old > t.size/r.chunk {
			return &format.DamagedError{Why: fmt.Sprintf("chunk %d lies beyond the end of the origin", e.Old)}
		}
		w.Mark(extents.Extent{Start: e.Old * r.chunk, End: (e.Old + 1) * r.chunk})
	}
	return nil
}

// unread is the error of records that could not be read. Those that are damaged
// will never be; a device that fails may work again.
func (l *extentLister) unread(r recorded, err error) error {
	_, damaged := errors.AsType[*format.DamagedError](err)
	for _, never := range []error{format.ErrNew, format.ErrForeign, format.ErrVersion} {
		damaged = damaged || errors.Is(err, never)
	}
	if damaged && l.since != nil {
		return l.full(FullTrackerFailed, "the records of %s cannot be read: %v", r.name, err)
	}
	return fmt.Errorf("records of %s: %w", r.name, err)
}
