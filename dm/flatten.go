package dm

import (
	"context"
	"fmt"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// flattening removes a set, and its store too: those that read through it get what only
// it has.
type flattening struct {
	*session
	request RemoveRequest
	id      string
}

// find looks at what there is, and which set is meant.
func (l *flattening) find() (*view, error) {
	v, err := l.sets.scanDevices()
	if err == nil {
		l.id, err = v.find(l.request.Name)
	}
	return v, err
}

func (l *flattening) plan() (*plan.Plan, error) {
	name := l.request.Name
	v, err := l.find()
	if err != nil {
		return nil, err
	}
	_, flatten, err := planFlatten(l.kernel, v.View, name, l.id)
	if err != nil || plan.IsLayer(name) {
		return flatten, err
	}
	r, err := l.remains.Removal(v.View, name, l.id)
	if err != nil {
		return nil, err
	}
	p := plan.Remove(r)
	p.Steps = append(p.Steps, flatten.Steps...)
	return p, nil
}

func (l *flattening) run(ctx context.Context) error {
	name := l.request.Name
	if _, err := l.before(ctx, change{leases: true, spare: name}); err != nil {
		return err
	}
	v, err := l.find()
	if err != nil {
		return err
	}
	if _, _, err := planFlatten(l.kernel, v.View, name, l.id); err != nil {
		return err // before anything is gone
	}
	if !plan.IsLayer(name) {
		if err := l.remove(ctx, name); err != nil {
			return err
		}
	}
	if err := l.flatten(ctx); err != nil {
		return &Error{
			Code: CodePartial, Err: fmt.Errorf("the leftover of the set could not be flattened: %w", err),
			Hint: "dmsnap remove --flatten " + l.layer() + " continues",
		}
	}
	return nil
}

// layer is the name of what is left of the set once it is removed.
func (l *flattening) layer() string { return plan.LayerName(l.id) }

// planFlatten has no steps if no snapshot reads through the set, or if the kernel copies
// into it still.
func planFlatten(k *ioctl.Kernel, ours *stack.View, name, id string) (r plan.FlattenRequest, p *plan.Plan, err error) {
	r = plan.FlattenRequest{Set: name, ID: id}
	for layer := range ours.Devices() {
		through := ours.Through(layer)
		if layer.ID != id || layer.Role != plan.RoleCore {
			continue
		}
		if err := checkFlattens(ours, layer); err != nil {
			return r, nil, err
		}
		if len(through) == 0 {
			continue
		}
		for _, reader := range ours.ReadBy(layer) {
			f, err := flattenReader(k, reader, layer, ours)
			if err != nil {
				return r, nil, err
			}
			f.Onto = through[0].Dev
			r.Readers = append(r.Readers, f)
		}
	}
	p, err = plan.Flatten(r)
	return r, p, err
}

// checkFlattens refuses to copy from a bookmark, or to one.
func checkFlattens(ours *stack.View, layer stack.Device) error {
	for _, d := range append(ours.ReadBy(layer), layer) {
		if bookmarked(ours, d) {
			return plan.Refuse(plan.Unsupported, d.Name, "remove the bookmark first, or remove without --flatten", "%s is a bookmark: it has nothing to copy, and takes nothing", d.Name)
		}
	}
	return nil
}

func flattenReader(k *ioctl.Kernel, reader, layer stack.Device, ours *stack.View) (f plan.FlattenReader, err error) {
	older, newer := ours.Store(reader), ours.Store(layer)
	if older == nil || newer == nil || reader.Status.State != targets.Active || layer.Status.State != targets.Active {
		return f, plan.Refuse(plan.Busy, reader.Name, "dmsnap list shows what is wrong", "%s, or an image it reads through, is lost", reader.Name)
	}
	size := reader.Table.Size().Bytes()
	f = plan.FlattenReader{
		Layer: newer.Name, Name: reader.Name, Set: inventory.SetOf(ours, reader), Role: reader.Role, Table: reader.Table,
		Size: older.Table.Size().Bytes(),
	}
	return f, store.Both(k, older.Dev, newer.Dev, func(o, n *format.Store) error {
		used := reader.Status.Used.Bytes()
		missing, err := format.Missing(o, n, size, used)
		if err == nil {
			f.Bytes, f.With = missing.Len()*o.Chunk, o.With(used, missing.Len())
		}
		return err
	})
}

// flatten carries the steps out one by one. The set that is read through and those
// that read through it are locked all the time, their origin only while a table
// changes: others may be cut, chained and removed while chunks are copied.
func (l *flattening) flatten(ctx context.Context) error {
	var ours *stack.View
	var p *plan.Plan
	locks, err := l.lockFor(ctx, change{look: func() (keys []string, err error) {
		if ours, err = l.read.Look(); err != nil {
			return nil, err
		}
		request, planned, err := planFlatten(l.kernel, ours, l.layer(), l.id)
		p, keys = planned, []string{journal.SetKey(l.layer())}
		for _, reader := range request.Readers {
			keys = append(keys, journal.SetKey(reader.Set))
		}
		return keys, err
	}})
	if err != nil {
		return err
	}
	defer l.unlock(locks)
	if len(p.Steps) == 0 && inventory.HasReaders(ours, l.id) {
		l.log.Warn("chunks are still copied into it: it stays until a newer set replaces it", "layer", l.layer())
	}
	for _, step := range p.Steps {
		if err := l.step(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

func (l *flattening) step(ctx context.Context, step plan.Step) error {
	runner := l.usualRunner()
	if step.Action == plan.FlattenChunks {
		runner.Rate = uint64(l.request.Rate)
		runner.Copied = l.progress()
		return runner.Step(ctx, step)
	}
	locks, err := l.lockOrigins(ctx)
	if err != nil {
		return err
	}
	defer l.unlock(locks)
	return runner.Step(ctx, step)
}

// tellEvery is how often the log says how far a flattening is.
const tellEvery = 5 * time.Second

func (l *flattening) progress() func(done, total uint64) {
	told := time.Now()
	return func(done, total uint64) {
		if time.Since(told) >= tellEvery {
			told = time.Now()
			l.log.Info("flattening", "layer", l.layer(), "bytes", done, "of", total)
		}
		if l.request.Progress != nil {
			l.request.Progress(l.layer(), done, total)
		}
	}
}

func (l *flattening) lockOrigins(ctx context.Context) (*journal.Locks, error) {
	ours, err := l.read.Look()
	if err != nil {
		return nil, err
	}
	r, err := l.remains.Removal(ours, l.layer(), l.id)
	if err != nil {
		return nil, err
	}
	return l.lockWithin(ctx, max(l.flattenTimeout, l.opts.Wait), originKeys(r)...)
}
