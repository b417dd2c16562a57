package stack

import (
	"errors"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// Reach is some devices and all that a write to them may be followed by a write to:
// what they stand on, the devices that a loop device's file lies on, and of a
// front the stores of its images. On finds the devices that a file is on.
func (r *Reader) Reach(ours *View, on func(file string) []targets.DevNo, from ...targets.DevNo) ([]targets.DevNo, error) {
	out := slices.Clone(from)
	for i := 0; i < len(out); i++ {
		next, err := r.links(sysBlock(out[i]) + "/slaves")
		if err != nil {
			return nil, err
		}
		file, err := r.LoopFile(out[i])
		if err != nil {
			return nil, err
		}
		if file != "" {
			next = append(next, on(file)...)
		}
		for b := range ours.Devices() {
			if plain, ok := b.Interposed(); ok && plain == out[i] {
				next = append(next, b.Dev) // which takes the writes to the plain device away from it
			}
			front := slices.Contains(next, b.Dev) && ours.At(out[i]) == nil // a front copies, a store or an image does not
			if b.Role == plan.RoleBase && front {
				next = append(next, ours.storesOn(b)...)
			}
		}
		for _, n := range next {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// storesOn are the stores of the snapshots that pair with a base.
func (v *View) storesOn(base Device) (out []targets.DevNo) {
	for _, i := range v.above[base.Dev] {
		if s := v.Member(i.ID, i.Volume, plan.RoleStore); s != nil {
			out = append(out, s.Dev)
		}
	}
	return out
}

// LoopFile is the path of a loop device's file; empty if it is none.
func (r *Reader) LoopFile(d targets.DevNo) (string, error) {
	return r.attr(sysBlock(d) + "/loop/backing_file")
}

// Way is how a filesystem's device leads down to the lowest origin it stands on.
type Way struct {
	Host      plan.Origin
	Stretches []plan.Stretch
	// Bases are those of all fronts on the way, the host's included, that have one.
	Bases []plan.Base
}

// WayDown follows a device to the lowest of some origins beneath it, through
// tables that only shift sectors. Found is false if it stands on none of them.
// A way that cannot be followed is refused, and so is one that leads out of an
// encrypted device, unless the chunks that go there come from beneath it: they are
// those of the volume on the device of.
func (r *Reader) WayDown(of, dev targets.DevNo, origins []plan.Origin, ours *View) (w Way, found bool, err error) {
	g, err := r.Geometry(r.Node(dev))
	if err != nil {
		return w, false, err
	}
	w.Stretches = []plan.Stretch{{Length: g.Size}}
	for cur := dev; ; {
		beneath, err := r.Beneath(cur)
		if err != nil {
			return w, false, err
		}
		last := !slices.ContainsFunc(beneath[1:], func(d targets.DevNo) bool { return isOrigin(d, origins) })
		if last && !isOrigin(cur, origins) {
			return w, false, nil
		}
		o, err := r.Origin(r.Node(cur), cur, ours)
		if err != nil {
			return w, false, err
		}
		if o.Base != nil {
			w.Bases = append(w.Bases, *o.Base)
		}
		if last {
			w.Host = o
			return w, true, nil
		}
		if err = r.outOf(o, of); err != nil {
			return w, false, err
		}
		if w.Stretches, cur, err = below(o, w.Stretches); err != nil {
			return w, false, err
		}
	}
}

// outOf refuses to write what a volume holds beneath an encryption that it is not
// beneath itself: it would lie there as plain text.
func (r *Reader) outOf(o plan.Origin, of targets.DevNo) error {
	for _, row := range o.OwnTable() {
		if row.Target.Type() != "crypt" {
			continue
		}
		beneath, err := r.Beneath(o.Dev)
		if err != nil || slices.Contains(beneath[1:], of) {
			return err
		}
		return plan.Refuse(plan.Unsupported, o.Path, "name another store, or leave the device below "+o.Path+" out of the set",
			"a store in a file above %s would be written below its encryption: data of %s would be stored in plain text", o.Path, r.Node(of))
	}
	return nil
}

func isOrigin(d targets.DevNo, origins []plan.Origin) bool {
	return slices.ContainsFunc(origins, func(o plan.Origin) bool { return o.Dev == d })
}

// below takes stretches one device down.
func below(o plan.Origin, upper []plan.Stretch) ([]plan.Stretch, targets.DevNo, error) {
	table := o.Table
	if o.Base != nil && o.Base.Fronted {
		table = o.Base.Table
	}
	var rows []plan.Stretch
	var lower targets.DevNo
	for i, row := range table {
		on, offset, err := shift(row.Target)
		if err == nil && i > 0 && on != lower {
			err = errors.New("it lies on several devices")
		}
		if err != nil {
			return nil, lower, plan.Refuse(plan.Unsupported, o.Path, "name a store that is not a file on it", "a store in a file cannot be mapped through %s: %v", o.Path, err)
		}
		lower = on
		rows = append(rows, plan.Stretch{Start: row.Start, Length: row.Length, Offset: offset})
	}
	if len(rows) == 0 {
		return nil, lower, plan.Refuse(plan.Unsupported, o.Path, "name a store that is not a file on it", "a store in a file cannot be mapped through %s, which is not a device-mapper device", o.Path)
	}
	var out []plan.Stretch
	for _, u := range upper {
		pieces, err := plan.Through(rows, u.Offset, u.Length)
		if err != nil {
			return nil, lower, err
		}
		for _, p := range pieces {
			out = append(out, plan.Stretch{Start: u.Start + p.Start - u.Offset, Length: p.Length, Offset: p.Offset})
		}
	}
	return out, lower, nil
}

// shift tells where a target that changes no sector's place but by a number puts
// its row. Encryption does, unless it keeps tags between the data.
func shift(t targets.Target) (targets.DevNo, targets.Sectors, error) {
	switch t := t.(type) {
	case targets.Linear:
		return t.Dev.DevNo, t.Offset, nil
	case targets.Raw:
		words := strings.Fields(t.Text)
		if t.Kind != "crypt" || len(words) < 5 || strings.Contains(t.Text, "integrity:") {
			break
		}
		dev, err := targets.ParseDevNo(words[3])
		if err != nil {
			return dev, 0, err
		}
		row, err := targets.Parse("linear", words[3]+" "+words[4])
		if l, ok := row.(targets.Linear); ok && err == nil {
			return dev, l.Offset, nil
		}
	}
	return targets.DevNo{}, 0, errors.New("its " + t.Type() + " target is not a plain mapping of sectors")
}
