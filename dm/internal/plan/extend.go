package plan

import (
	"cmp"
	"slices"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// ExtendRequest is a set whose stores are to grow, as the kernel has them.
type ExtendRequest struct {
	Set, ID string
	Volumes []ExtendVolume
}

// ExtendVolume is one volume of it.
type ExtendVolume struct {
	Name  string
	Store string // dm name
	// Table is what the store is made of now.
	Table targets.Table
	Path  string // where the last piece lies, for people
	// Room is how far the last piece can reach on the device beneath.
	Room targets.Sectors
	// Label says whose the store is, of its next medium. Last is the device of the last piece, if that
	// became larger and needs its tail at its new end.
	Label layout.Label
	Last  *Medium
	// LogicalBlock is the store's, in bytes.
	LogicalBlock uint32
	Origin       targets.Sectors
	Chunk        targets.Sectors
	// Want is the size asked for, or the growth if Relative.
	Want     targets.Sectors
	Relative bool
	// Partly: less than asked for is better than nothing.
	Partly bool
	// File is what the store can go on with where it lies, but for its size; nil if
	// it is a device.
	File *File
	// Stuck is why a store that is no device cannot grow where it is; empty if it
	// can.
	Stuck string
	// Lost is the state of an image that no room helps any more; empty if it does.
	Lost string
	// Further is a device to go on with when the last one is full; nil: none.
	Further *Store
}

// Extend plans larger stores. The kernel reads the size of a store with every
// copy, so its device is all that changes: a longer table in the inactive slot,
// then one resume, which suspends the store, swaps its tables and resumes it.
// Writers that need a copy wait for that call and no longer: should we die,
// no writer stays blocked, so no guard is needed. A resume that fails may leave the store
// suspended; its undo makes it run with the table it had.
func Extend(r ExtendRequest) (*Plan, error) {
	p := &Plan{Op: "extend", Set: r.Set, ID: r.ID, Final: true}
	var window, finish []Step
	for _, v := range r.Volumes {
		if v.enough() && slices.ContainsFunc(r.Volumes, ExtendVolume.short) {
			continue // the others are what is meant
		}
		table, file, err := v.grown()
		if err != nil {
			return nil, err
		}
		p.Steps = append(append(append(p.Steps, v.makeFile(file)...), v.label(table)...), Step{
			Phase: Prepare, Action: LoadTable, Role: RoleStore, Device: v.Store, Table: table, File: file, Alone: v.alone(table),
			Undo: &Step{Action: ClearTable, Role: RoleStore, Device: v.Store},
		})
		window = append(window, Step{
			Phase: Window, Action: Resume, Role: RoleStore, Device: v.Store,
			Undo: &Step{Action: Resume, Role: RoleStore, Device: v.Store},
		})
		finish = append(finish, Step{Phase: Finish, Action: Verify, Role: RoleStore, Device: v.Store, Table: table, File: file})
	}
	p.Steps = append(append(p.Steps, window...), finish...)
	p.Steps = append(p.Steps, Step{Phase: Finish, Action: Settle})
	return p, nil
}

// label gives a further device lead and tail, and the one that the store ended with
// a new tail, should it have become larger.
func (v ExtendVolume) label(grown targets.Table) []Step {
	var steps []Step
	n := len(v.Table)
	if v.Last != nil && len(grown) >= n && grown[n-1].Length > v.Table[n-1].Length {
		m := *v.Last
		m.Held, m.Label, m.Area = true, v.Label, (grown[n-1].Length + last(v.Table).Offset - LeadSectors).Bytes()
		m.Label.Piece--
		steps = append(steps, Step{Phase: Prepare, Action: LabelMedium, Role: RoleStore, Medium: &m})
	}
	if v.Further == nil || len(grown) == n {
		return steps
	}
	m := &Medium{Path: v.Further.Path, Dev: v.Further.Dev, Label: v.Label, Area: grown[n].Length.Bytes()}
	return append(steps, labelMedium(m))
}

func last(t targets.Table) (l targets.Linear) {
	l, _ = t[len(t)-1].Target.(targets.Linear)
	return l
}

// alone is the further device, once a part of the table is on it.
func (v ExtendVolume) alone(t targets.Table) (d targets.DevNo) {
	if v.Further != nil && On(t, v.Further.Dev) != nil {
		d = v.Further.Dev
	}
	return d
}

// makeFile makes a store's further file; memory has none. Should a
// store have its new table already when others fail, it stays.
func (v ExtendVolume) makeFile(f *File) []Step {
	steps := allocate(f)
	for i := range steps {
		steps[i].Undo.Device = v.Store
	}
	return steps
}

// grown is the store's table with the room asked for, and the file that makes it,
// if a file does.
func (v ExtendVolume) grown() (targets.Table, *File, error) {
	size, err := v.size()
	if err != nil {
		return nil, nil, err
	}
	if (v.File != nil || v.Stuck != "") && v.Further == nil {
		return v.inPlace(size)
	}
	table, err := v.further(size)
	return table, nil, err
}

// LeastGrowth is what is worth the trouble when there is less than was asked for.
const LeastGrowth targets.Sectors = 2048

// inPlace has the store go on with one more file, or more memory. What it has is
// not touched: a file that a table lies on is never unpinned.
func (v ExtendVolume) inPlace(size targets.Sectors) (targets.Table, *File, error) {
	if v.Stuck != "" {
		return nil, nil, Refuse(NoSpace, v.Path, goOn, "the store of %s cannot grow where it is: %s", v.Name, v.Stuck)
	}
	now, file := v.Table.Size(), *v.File
	room := targets.Sectors(layout.Area(file.Room)/512) / 8 * 8 // whole blocks, or pages
	grow := (size - now + 7) / 8 * 8
	if file.Partly = v.Partly; v.Partly && room >= min(grow, LeastGrowth) {
		grow = min(grow, room)
	}
	if grow > room {
		return nil, nil, v.noRoom(size, now+room, goOn)
	}
	file.At, file.Bytes = now.Bytes(), grow.Bytes()
	table := append(slices.Clone(v.Table), targets.Row{
		Start: now, Length: grow, Target: targets.Linear{Dev: targets.Device{Path: file.standIn()}},
	})
	return table, &file, nil
}

const goOn = "name another device with --store to continue there"

// further takes what is left of the last piece's device first, then the further
// one.
func (v ExtendVolume) further(size targets.Sectors) (targets.Table, error) {
	table := append(targets.Table(nil), v.Table...)
	last := &table[len(table)-1]
	linear, ok := last.Target.(targets.Linear)
	if !ok {
		return nil, Refuse(Unsupported, v.Store, "remove the set and take a new one with a larger store", "the table of store %s was changed", v.Store)
	}
	left := v.Room - min(v.Room, linear.Offset+last.Length)
	left -= left % v.align()
	grow := min(left, size-table.Size())
	last.Length += grow
	rest := size - table.Size()
	if v.Partly && v.Further != nil {
		rest = min(rest, v.Further.Size-v.Further.Size%v.align())
	}
	switch {
	case rest == 0, v.Partly && grow > 0 && v.Further == nil:
		return table, nil
	case v.Further == nil:
		return nil, v.noRoom(size, table.Size(), goOn)
	case v.Further.Backing != Whole:
		return nil, Refuse(Unsupported, v.Further.Path, "name an unused block device: --store /dev/...", "a store continues only on a block device, not on a %s", v.Further.Kind)
	case v.Further.LogicalBlock > max(v.LogicalBlock, 512):
		return nil, Refuse(Unsupported, v.Further.Path, "use a device with the store's sector size", "sectors of %s (%d bytes) are larger than those of store %s (%d)", v.Further.Path, v.Further.LogicalBlock, v.Store, v.LogicalBlock)
	case rest > v.Further.Size:
		return nil, v.noRoom(size, table.Size()+v.Further.Size, "use a smaller size")
	}
	return append(table, targets.Row{
		Start: table.Size(), Length: rest, Target: targets.Linear{Dev: numbered(v.Further.Dev), Offset: LeadSectors},
	}), nil
}

// size is what the store is to have: no more than it can ever need.
func (v ExtendVolume) size() (targets.Sectors, error) {
	now, most := v.Table.Size(), NeverFull(v.Origin, v.Chunk)
	want := v.Want
	if v.Relative {
		want = now + min(v.Want, most)
	}
	size := min(want, most)
	size -= size % v.align()
	switch {
	case v.Lost != "":
		return 0, Refuse(NoSpace, v.Store, "remove the set and take a new one with a larger store", "volume %s is %s: a larger store does not bring it back", v.Name, v.Lost)
	case v.enough():
		return 0, Refuse(Usage, v.Store, "nothing to do", "the store of %s already has %d bytes, enough for every block of its origin", v.Name, now.Bytes())
	case size <= now:
		return 0, Refuse(Usage, v.Store, "give a larger size; stores do not shrink", "the store of %s already has %d bytes, %d were requested", v.Name, now.Bytes(), want.Bytes())
	}
	return size, nil
}

// enough tells that a store can take every chunk of its origin.
func (v ExtendVolume) enough() bool {
	return v.Table.Size()+v.align() > NeverFull(v.Origin, v.Chunk)
}

func (v ExtendVolume) short() bool { return !v.enough() }

func (v ExtendVolume) align() targets.Sectors {
	return targets.Sectors(max(v.LogicalBlock, 512) / 512)
}

func (v ExtendVolume) noRoom(size, possible targets.Sectors, hint string) error {
	return Refuse(NoSpace, v.Path, hint, "the store of %s can have at most %d bytes on %s, %d were requested", v.Name, possible.Bytes(), cmp.Or(v.Path, "memory"), size.Bytes())
}
