package plan

import (
	"slices"

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
	// Room is how large the device beneath the last piece is.
	Room targets.Sectors
	// LogicalBlock is the store's, in bytes.
	LogicalBlock uint32
	Origin       targets.Sectors
	Chunk        targets.Sectors
	// Want is the size asked for, or the growth if Relative.
	Want     targets.Sectors
	Relative bool
	// Partly: less than asked for is better than nothing.
	Partly bool
	// Lost is the state of an image that no room helps any more; empty if it does.
	Lost string
	// Further is a device to go on with when the last one is full; nil: none.
	Further *Store
}

// Extend plans larger stores. The kernel reads the size of a store with every
// copy, so its device is all that changes: a longer table in the inactive slot,
// then one resume, which suspends the store, swaps its tables and resumes it.
// Writers that need a copy wait for that call and no longer: should we die,
// nobody is held, so no guard is needed. A resume that fails may leave the store
// suspended; its undo makes it run with the table it had.
func Extend(r ExtendRequest) (*Plan, error) {
	p := &Plan{Op: "extend", Set: r.Set, ID: r.ID, Final: true}
	var window, finish []Step
	for _, v := range r.Volumes {
		if v.enough() && slices.ContainsFunc(r.Volumes, ExtendVolume.short) {
			continue // the others are what is meant
		}
		table, err := v.grown()
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, Step{
			Phase: Prepare, Action: LoadTable, Role: RoleStore, Device: v.Store, Table: table,
			Undo: &Step{Action: ClearTable, Role: RoleStore, Device: v.Store},
		})
		window = append(window, Step{
			Phase: Window, Action: Resume, Role: RoleStore, Device: v.Store,
			Undo: &Step{Action: Resume, Role: RoleStore, Device: v.Store},
		})
		finish = append(finish, Step{Phase: Finish, Action: Verify, Role: RoleStore, Device: v.Store, Table: table})
	}
	p.Steps = append(append(p.Steps, window...), finish...)
	p.Steps = append(p.Steps, Step{Phase: Finish, Action: Settle})
	return p, nil
}

// grown is the store's table with the room asked for.
func (v ExtendVolume) grown() (targets.Table, error) {
	size, err := v.size()
	if err != nil {
		return nil, err
	}
	table := append(targets.Table(nil), v.Table...)
	last := &table[len(table)-1]
	linear, ok := last.Target.(targets.Linear)
	if !ok {
		return nil, Refuse(Unsupported, v.Store, "remove the set and take it anew with a larger store", "store %s is no linear map any more", v.Store)
	}
	// What is left of the last piece's device first, then the further one.
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
		return nil, v.noRoom(size, table.Size(), "name another device with --store to go on there")
	case v.Further.Backing != Whole:
		return nil, Refuse(Unsupported, v.Further.Path, "name an unused block device: --store /dev/...", "a store goes on only on a block device, not on a %s", v.Further.Kind)
	case v.Further.LogicalBlock > max(v.LogicalBlock, 512):
		return nil, Refuse(Unsupported, v.Further.Path, "use a device with the store's sector size", "sectors of %s (%d bytes) are larger than those of store %s (%d)", v.Further.Path, v.Further.LogicalBlock, v.Store, v.LogicalBlock)
	case rest > v.Further.Size:
		return nil, v.noRoom(size, table.Size()+v.Further.Size, "ask for at most what there is")
	}
	return append(table, targets.Row{
		Start: table.Size(), Length: rest, Target: targets.Linear{Dev: numbered(v.Further.Dev)},
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
		return 0, Refuse(NoSpace, v.Store, "remove the set, and take it anew with a larger store", "volume %s is in state %s: no room brings it back", v.Name, v.Lost)
	case v.enough():
		return 0, Refuse(Usage, v.Store, "nothing is to be done", "the store of %s has %d bytes, which it cannot overflow", v.Name, now.Bytes())
	case size <= now:
		return 0, Refuse(Usage, v.Store, "ask for more than it has; stores do not shrink", "the store of %s has %d bytes already, %d were asked for", v.Name, now.Bytes(), want.Bytes())
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
	return Refuse(NoSpace, v.Path, hint, "the store of %s can have %d bytes at most on %s, %d were asked for", v.Name, possible.Bytes(), v.Path, size.Bytes())
}
