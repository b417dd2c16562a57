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
	"github.com/dmsnap/dmsnap/targets"
)

func (s *session) planRemoveAndFlatten(name string) (*plan.Plan, error) {
	v, id, err := s.found(name)
	if err != nil {
		return nil, err
	}
	_, flatten, err := s.planFlatten(v.View, name, id)
	if err != nil || plan.IsLayer(name) {
		return flatten, err
	}
	r, err := s.remains.Removal(v.View, name, id)
	if err != nil {
		return nil, err
	}
	p := plan.Remove(r)
	p.Steps = append(p.Steps, flatten.Steps...)
	return p, nil
}

func (s *session) removeAndFlatten(ctx context.Context, r RemoveRequest) error {
	name := r.Name
	if _, err := s.before(ctx, change{leases: true, spare: name}); err != nil {
		return err
	}
	v, id, err := s.found(name)
	if err != nil {
		return err
	}
	if _, _, err := s.planFlatten(v.View, name, id); err != nil {
		return err // before anything is gone
	}
	if !plan.IsLayer(name) {
		if err := s.remove(ctx, name); err != nil {
			return err
		}
	}
	layer := plan.LayerName(id)
	if err := s.flatten(ctx, layer, id, r); err != nil {
		return &Error{
			Code: CodePartial, Err: fmt.Errorf("the leftover of the set could not be flattened: %w", err),
			Hint: "dmsnap remove --flatten " + layer + " continues",
		}
	}
	return nil
}

// found is a look at what there is, and the id of a set in it.
func (s *session) found(name string) (v *view, id string, err error) {
	if v, err = s.sets.scanDevices(); err == nil {
		id, err = v.find(name)
	}
	return v, id, err
}

// planFlatten has no steps if nobody reads through the set, or if the kernel copies
// into it still.
func (s *session) planFlatten(ours *stack.View, name, id string) (r plan.FlattenRequest, p *plan.Plan, err error) {
	r = plan.FlattenRequest{Set: name, ID: id}
	for layer := range ours.Devices() {
		through := ours.Through(layer)
		if layer.ID != id || layer.Role != plan.RoleCore || len(through) == 0 {
			continue
		}
		for _, reader := range ours.ReadBy(layer) {
			f, err := s.flattenReader(reader, layer, ours)
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

func (s *session) flattenReader(reader, layer stack.Device, ours *stack.View) (f plan.FlattenReader, err error) {
	older, newer := ours.Store(reader), ours.Store(layer)
	if older == nil || newer == nil || reader.Status.State != targets.Active || layer.Status.State != targets.Active {
		return f, plan.Refuse(plan.Busy, reader.Name, "dmsnap list shows what is wrong", "%s, or an image it reads through, is lost", reader.Name)
	}
	size := reader.Table.Size().Bytes()
	f = plan.FlattenReader{
		Layer: newer.Name, Name: reader.Name, Set: inventory.SetOf(ours, reader), Role: reader.Role, Table: reader.Table,
		Size: older.Table.Size().Bytes(),
	}
	return f, store.Both(s.kernel, older.Dev, newer.Dev, func(o, n *format.Store) error {
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
func (s *session) flatten(ctx context.Context, layer, id string, r RemoveRequest) error {
	var ours *stack.View
	var p *plan.Plan
	locks, err := s.lockFor(ctx, change{look: func() (keys []string, err error) {
		if ours, err = s.read.Look(); err != nil {
			return nil, err
		}
		request, planned, err := s.planFlatten(ours, layer, id)
		p, keys = planned, []string{journal.SetKey(layer)}
		for _, reader := range request.Readers {
			keys = append(keys, journal.SetKey(reader.Set))
		}
		return keys, err
	}})
	if err != nil {
		return err
	}
	defer s.unlock(locks)
	if len(p.Steps) == 0 && inventory.HasReaders(ours, id) {
		s.log.Warn("chunks are still copied into it: it stays until a newer set replaces it", "layer", layer)
	}
	for _, step := range p.Steps {
		if err := s.flattenStep(ctx, step, layer, id, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) flattenStep(ctx context.Context, step plan.Step, layer, id string, r RemoveRequest) error {
	runner := s.usualRunner()
	if step.Action == plan.FlattenChunks {
		runner.Rate = uint64(r.Rate)
		runner.Copied = s.progress(layer, r)
		return runner.Step(ctx, step)
	}
	locks, err := s.lockOrigins(ctx, layer, id)
	if err != nil {
		return err
	}
	defer s.unlock(locks)
	return runner.Step(ctx, step)
}

// tellEvery is how often the log says how far a flattening is.
const tellEvery = 5 * time.Second

func (s *session) progress(layer string, r RemoveRequest) func(done, total uint64) {
	told := time.Now()
	return func(done, total uint64) {
		if time.Since(told) >= tellEvery {
			told = time.Now()
			s.log.Info("flattening", "layer", layer, "bytes", done, "of", total)
		}
		if r.Progress != nil {
			r.Progress(layer, done, total)
		}
	}
}

func (s *session) lockOrigins(ctx context.Context, name, id string) (*journal.Locks, error) {
	ours, err := s.read.Look()
	if err != nil {
		return nil, err
	}
	r, err := s.remains.Removal(ours, name, id)
	if err != nil {
		return nil, err
	}
	return s.state.LockWithin(ctx, max(s.flattenTimeout, s.opts.Wait), ownPID(), originKeys(r)...)
}

func originKeys(r plan.RemoveRequest) (keys []string) {
	for _, v := range r.Volumes {
		if v.Origin.Known() {
			keys = append(keys, journal.OriginKey(v.Origin.Dev.String()))
		}
	}
	return keys
}
