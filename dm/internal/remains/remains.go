package remains

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Reader reads the kernel and the state directory.
type Reader struct {
	Kernel *ioctl.Kernel
	Read   *stack.Reader
	State  journal.Dir
	Log    *slog.Logger
}

// Host reads what our files say of all sets.
func (r *Reader) Host(ours *stack.View) (inventory.Host, error) {
	// Intents first: a create that ends meanwhile has its record before its intent goes.
	intents, err := r.State.Intents()
	if err != nil {
		return inventory.Host{}, err
	}
	records, err := r.State.Sets()
	return inventory.Host{View: ours, Intents: intents, Records: records}, err
}

// Set reads what our files say of a set, once, to a look at our devices. An
// error is one of the journal; what the record says is there all the same.
func (r *Reader) Set(ours *stack.View, name, id string) (inventory.Set, error) {
	known := inventory.Set{Name: name, ID: id, View: ours}
	var err error
	known.Intents, err = r.State.Intents()
	if set, err := r.State.LoadSet(name); err == nil && set.ID == id {
		known.Record = &set
	}
	return known, err
}

// Removal is all there is of a set, as its removal needs it.
func (r *Reader) Removal(ours *stack.View, name, id string) (plan.RemoveRequest, error) {
	out := plan.RemoveRequest{Set: name, ID: id}
	known, err := r.Set(ours, name, id)
	if err != nil {
		return out, err
	}
	out.Names, out.Adopted, out.Lower = known.Nodes(), known.Adopted(), known.OrphanLower()
	volumes := known.Volumes()
	for _, n := range slices.Sorted(maps.Keys(volumes)) {
		v := volumes[n]
		if v.Base == nil {
			continue
		}
		if err := r.Front(&v.RemoveVolume, *v.Base, known); err != nil {
			return out, err
		}
	}
	if err := r.stores(volumes, known); err != nil {
		return out, err
	}
	for _, n := range slices.Sorted(maps.Keys(volumes)) {
		out.Volumes = append(out.Volumes, volumes[n].RemoveVolume)
	}
	for _, base := range known.OrphanBases() {
		v := plan.RemoveVolume{}
		if err := r.Front(&v, base, known); err != nil {
			return out, err
		}
		out.Volumes = append(out.Volumes, v)
	}
	return out, nil
}

// stores adds the files and devices of stores, of volumes too that have nothing
// else any more.
func (r *Reader) stores(volumes map[int]*inventory.Volume, known inventory.Set) error {
	of := func(n int) *inventory.Volume {
		if volumes[n] == nil {
			volumes[n] = &inventory.Volume{RemoveVolume: plan.RemoveVolume{Number: n}}
		}
		return volumes[n]
	}
	files, err := r.filesOf(known)
	if err != nil {
		return err
	}
	for n, f := range files {
		of(n).Files = f
	}
	media, err := r.mediaOf(known)
	if err != nil {
		return err
	}
	for n, m := range media {
		of(n).Media = m
	}
	return nil
}

// Front finds the front that leads to a base.
func (r *Reader) Front(v *plan.RemoveVolume, base stack.Device, known inventory.Set) error {
	if dev, plain := base.Interposed(); plain {
		return r.plain(v, base, dev, known)
	}
	b := known.View.PlanBase(base)
	live, pending, err := r.Read.Front(base.Dev)
	if err != nil {
		return err
	}
	b.Fronted, b.Pending = live != nil, pending != nil
	front := live
	if front == nil {
		front = pending
	}
	if front == nil {
		if front, err = r.ownFront(base); err != nil {
			return err
		}
		b.Own = front != nil
	}
	if front != nil {
		v.Origin, err = r.Read.Origin(front.Name, front.Dev, known.View)
		if err != nil {
			return err
		}
		// The table the plan is made for, not the one that was seen before it.
		b.Fronted = stack.LeadsTo(v.Origin.Table, base.Dev)
	}
	v.Origin.Base = &b
	v.Last = known.Last(b)
	return nil
}

// ownFront finds the front of a base that nothing leads to any more. One that is
// suspended, or in which a table waits, is in the hands of another program.
func (r *Reader) ownFront(base stack.Device) (*ioctl.Info, error) {
	fronts, err := r.Read.Fronts(base)
	for _, f := range fronts {
		if f.Own && !f.Info.Suspended && !f.Foreign {
			return &f.Info, err
		}
	}
	return nil, err
}

// plain is Front for a plain device, which may be gone: its base
// says which one it was.
func (r *Reader) plain(v *plan.RemoveVolume, base stack.Device, dev targets.DevNo, known inventory.Set) error {
	v.Origin = plan.Origin{Dev: dev, Path: r.Read.Node(dev), Volume: strings.TrimPrefix(base.Name, plan.BaseName(""))}
	if err := r.Read.Redirected(&v.Origin, base, known.View); err != nil {
		return err
	}
	held, err := r.State.IsAttached(base.Name, base.ID)
	v.Last = !held && known.Last(*v.Origin.Base)
	return err
}
