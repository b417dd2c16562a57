package plan

import (
	"fmt"
	"slices"

	"github.com/dmsnap/dmsnap/targets"
)

// Through follows a range of a device down a way: what it is made of on the
// lower device, in order.
func Through(way []Stretch, start, length targets.Sectors) ([]Stretch, error) {
	var out []Stretch
	for at := start; at < start+length; {
		s, found := stretchAt(way, at)
		if !found {
			return nil, fmt.Errorf("sector %d of %d is not mapped", at, start+length)
		}
		n := min(start+length, s.Start+s.Length) - at
		out = append(out, Stretch{Start: at, Length: n, Offset: s.Offset + at - s.Start})
		at += n
	}
	return out, nil
}

func stretchAt(way []Stretch, at targets.Sectors) (Stretch, bool) {
	for _, s := range way {
		if at >= s.Start && at-s.Start < s.Length {
			return s, true
		}
	}
	return Stretch{}, false
}

// maxRows bounds a store's table: each row takes memory in the kernel, and a
// file in more pieces would be read slowly as well.
const maxRows = 20000

// Rows is the table of a store over the pieces of a file, from the end of its lead
// on: Start is where a piece stands in the file, Offset where it lies on the
// filesystem's device.
// The pieces must be in order and without a gap from the beginning.
func (f *File) Rows(pieces []Stretch) (targets.Table, error) {
	var table targets.Table
	lead := targets.Sectors(f.Lead / 512)
	size, next := lead+targets.Sectors(f.Bytes/512), targets.Sectors(0)
	for _, p := range pieces {
		if next >= size {
			break // the file's last block may reach further
		}
		if p.Start != next {
			return nil, Refuse(Unsupported, f.Path, "use another filesystem", "%s has a hole at byte %d", f.Path, next.Bytes())
		}
		length := min(p.Length, size-next)
		lower, err := Through(f.Way, p.Offset, length)
		if err != nil {
			return nil, err
		}
		for _, l := range lower {
			table = f.row(table, next+l.Start-p.Offset, l)
		}
		next += length
	}
	if next < size {
		return nil, Refuse(Unsupported, f.Path, "use another filesystem", "%s ends at byte %d of %d", f.Path, next.Bytes(), size.Bytes())
	}
	if len(table) > maxRows {
		return nil, Refuse(NoSpace, f.Path, "use a smaller store, or one on another filesystem", "%s would have %d extents, more than %d: the free space is too fragmented", f.Path, len(table), maxRows)
	}
	return From(table, lead), nil
}

// row adds a piece.
func (f *File) row(t targets.Table, start targets.Sectors, s Stretch) targets.Table {
	return Append(t, targets.Row{Start: start, Length: s.Length, Target: targets.Linear{Dev: mapped(f.Over), Offset: s.Offset}})
}

// Append adds a row to a table, or makes the last one longer if the row goes on
// where that ends.
func Append(t targets.Table, row targets.Row) targets.Table {
	if n := len(t); n > 0 {
		last, ok := t[n-1].Target.(targets.Linear)
		more, also := row.Target.(targets.Linear)
		if ok && also && last.Dev == more.Dev && last.Offset+t[n-1].Length == more.Offset {
			t[n-1].Length += row.Length
			return t
		}
	}
	return append(t, row)
}

// Within tells whether all that a table has of a device lies in the rows of another.
func Within(t targets.Table, dev targets.DevNo, all targets.Table) bool {
	for _, row := range On(t, dev) {
		at := row.Target.(targets.Linear).Offset
		for end := at + row.Length; at < end; {
			n := slices.IndexFunc(all, func(r targets.Row) bool {
				l, ok := r.Target.(targets.Linear)
				return ok && l.Dev.DevNo == dev && l.Offset <= at && at < l.Offset+r.Length
			})
			if n < 0 {
				return false
			}
			at = all[n].Target.(targets.Linear).Offset + all[n].Length
		}
	}
	return true
}

// On is what a table has of one device, put together: the table of a file as far
// as a store has it.
func On(t targets.Table, dev targets.DevNo) (on targets.Table) {
	for _, row := range t {
		if l, ok := row.Target.(targets.Linear); ok && l.Dev.Path == "" && l.Dev.DevNo == dev {
			row.Start = on.Size()
			on = Append(on, row)
		}
	}
	return on
}

// From is a table without its beginning.
func From(t targets.Table, from targets.Sectors) (rest targets.Table) {
	for _, row := range t {
		skip := from - min(from, row.Start)
		if skip >= row.Length {
			continue
		}
		if l, ok := row.Target.(targets.Linear); ok {
			l.Offset += skip
			row.Target = l
		}
		row.Start, row.Length = row.Start+skip-from, row.Length-skip
		rest = append(rest, row)
	}
	return rest
}

// To is the beginning of a table.
func To(t targets.Table, size targets.Sectors) (head targets.Table) {
	for _, row := range t {
		if row.Start < size {
			row.Length = min(row.Length, size-row.Start)
			head = append(head, row)
		}
	}
	return head
}

// CloseUp has the pieces of a file, up to a sector of it, follow each other without
// the holes between them, and tells how much they are.
func CloseUp(pieces []Stretch, end targets.Sectors) (closed []Stretch, size targets.Sectors) {
	for _, p := range pieces {
		if p.Start < end {
			p.Length = min(p.Length, end-p.Start)
			p.Start = size
			closed, size = append(closed, p), size+p.Length
		}
	}
	return closed, size
}
