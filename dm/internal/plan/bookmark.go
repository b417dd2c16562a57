package plan

import (
	"slices"

	"github.com/dmsnap/dmsnap/targets"
)

// BookmarkRequest is a set of which only the list of changed chunks is to be kept.
type BookmarkRequest struct {
	Set, ID string
	Volumes []BookmarkVolume
}

// BookmarkVolume is one volume of it. An empty name, or table, means that this part is
// done already.
type BookmarkVolume struct {
	Name   string // of the volume
	Image  string // dm name, of what goes
	Store  string // dm name
	Table  targets.Table
	Chunk  targets.Sectors
	Origin targets.Sectors // size
	File   *File           // that its store begins in; nil: it is a device
}

// Bookmark plans how a set becomes a bookmark. Its store keeps the records and drops
// the chunks: one resume of the store swaps its table, as an extend does, so that no
// writer waits for more than that call and nothing stays suspended should we die. The
// images go before that, since they read zeros afterwards; when the first is gone
// nothing is taken back.
func Bookmark(r BookmarkRequest) (*Plan, error) {
	p := &Plan{Op: "bookmark", Set: r.Set, ID: r.ID, Final: true}
	var images, stores, finish []Step
	var gone []string
	for _, v := range r.Volumes {
		if v.Image != "" {
			gone = append(gone, v.Image)
			images = append(images, Step{Phase: Window, Action: RemoveDevice, Role: RoleImage, Device: v.Image})
		}
		if v.Store == "" {
			continue
		}
		table, kept, err := v.hollow()
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, Step{
			Phase: Prepare, Action: LoadTable, Role: RoleStore, Device: v.Store, Table: table,
			Undo: &Step{Action: ClearTable, Role: RoleStore, Device: v.Store},
		})
		stores = append(stores, Step{
			Phase: Window, Action: Resume, Role: RoleStore, Device: v.Store,
			Undo: &Step{Action: Resume, Role: RoleStore, Device: v.Store},
		})
		finish = append(finish, Step{Phase: Finish, Action: Verify, Role: RoleStore, Device: v.Store, Table: table})
		finish = append(finish, v.free(table, kept)...)
	}
	p.Steps = append(append(append(p.Steps, images...), stores...), finish...)
	p.Steps = append(p.Steps, Step{Phase: Finish, Action: Settle, Gone: gone})
	return p, nil
}

// Hollow tells the table of a store that keeps records only.
func Hollow(t targets.Table) bool {
	for _, row := range t {
		if _, is := row.Target.(targets.Zero); is {
			return true
		}
	}
	return false
}

// hollow is the table of a store that keeps its records where they are, and drops what
// is written to all else. It is as large as the store can ever need, and cannot overflow. The
// exception areas that the old table did not reach lie where it had chunks: the kernel clears
// each before it uses it. Kept are the chunks of the old table that the new one has, by where they
// began in that.
func (v BookmarkVolume) hollow() (table targets.Table, kept []targets.Sectors, err error) {
	per := targets.Sectors(v.Chunk.Bytes() / exceptionBytes)
	size, spare := NeverFull(v.Origin, v.Chunk), spares{chunk: v.Chunk, per: per, next: 2}
	table, kept = part(v.Table, 0, v.Chunk), append(kept, 0) // the header
	for area := v.Chunk; area < size; area += (per + 1) * v.Chunk {
		from := area
		if area+v.Chunk > v.Table.Size() {
			from = spare.take()
		}
		rows := part(v.Table, from, v.Chunk)
		if rows.Size() < v.Chunk {
			return nil, nil, Refuse(NoSpace, v.Store, "extend the set first", "the store of %s is too small for the records of all its origin's chunks", v.Name)
		}
		kept = append(kept, from)
		for _, row := range rows {
			row.Start += area
			table = Append(table, row)
		}
		if rest := min(per*v.Chunk, size-min(size, area+v.Chunk)); rest > 0 {
			table = append(table, targets.Row{Start: area + v.Chunk, Length: rest, Target: targets.Zero{}})
		}
		if len(table) > maxRows {
			return nil, nil, Refuse(Unsupported, v.Store, "take a set with a larger --chunk, and make a bookmark of that", "with chunks of %d bytes the store of %s would have more than %d pieces", v.Chunk.Bytes(), v.Name, maxRows)
		}
	}
	return table, kept, nil
}

// free gives the filesystem back what the file of a store has of the past. Files that the store went on
// with stay whole.
func (v BookmarkVolume) free(table targets.Table, kept []targets.Sectors) []Step {
	if v.File == nil || v.File.Path == "" || v.File.At != 0 {
		return nil
	}
	slices.Sort(kept)
	s := Step{Phase: Finish, Action: FreeBlocks, Role: RoleStore, Device: v.Store, Table: table, File: v.File, Optional: true}
	lead, at := targets.Sectors(v.File.Lead/512), targets.Sectors(0)
	for _, next := range append(kept, targets.Sectors(v.File.Bytes/512)) {
		if next > at {
			s.Free = append(s.Free, Stretch{Start: lead + at, Length: next - at})
		}
		at = next + v.Chunk
	}
	return []Step{s}
}

// spares are the places of chunks in a store, in order.
type spares struct{ chunk, per, next targets.Sectors }

func (s *spares) take() targets.Sectors {
	if (s.next-1)%(s.per+1) == 0 { // an exception area
		s.next++
	}
	s.next++
	return (s.next - 1) * s.chunk
}

// part is what a table has from a sector on, from its own beginning.
func part(t targets.Table, at, length targets.Sectors) targets.Table { return To(From(t, at), length) }
