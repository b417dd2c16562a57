package stack

import (
	"path"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// Layer is the table of an attached device's layer, as it would be asked for again; nil
// if it has none.
func (r *Reader) Layer(base Device) targets.Table {
	plain, is := base.Interposed()
	if base.Under == nil || !is {
		return nil
	}
	t, _ := base.Table.Substitute(func(d targets.Device) (targets.Device, error) {
		if d.DevNo == base.Under.Dev {
			d.DevNo = plain
		}
		return d, nil
	})
	return r.Named(t)
}

// Named is a table with the paths of its devices.
func (r *Reader) Named(t targets.Table) targets.Table {
	t, _ = t.Substitute(func(d targets.Device) (targets.Device, error) {
		return targets.Device{Path: r.Node(d.DevNo)}, nil
	})
	return t
}

// ReadLayer reads the text of a table in which devices have the names that users give
// them. All get numbers.
func (r *Reader) ReadLayer(text string) (targets.Table, error) {
	const hint = "quote it as one word; it is written as for dmsetup create"
	t, err := targets.ParseTable(text)
	if err != nil {
		return nil, plan.Refuse(plan.Usage, "", hint, "the table of the layer cannot be read: %v", err)
	}
	return t.Substitute(func(d targets.Device) (targets.Device, error) {
		switch {
		case d.Path == "":
			return d, nil
		case !path.IsAbs(d.Path):
			return d, plan.Refuse(plan.Usage, "", "use the path of a device, or its number", "the table of the layer names %q, which is not an absolute path", d.Path)
		}
		n, err := r.Resolve(d.Path, nil)
		return targets.Device{DevNo: n}, err
	})
}
