package dm

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/targets"
)

// Attachment is a plain device whose writers use a device-mapper device: they are
// led there ("module"), or its users mount it ("adopted").
type Attachment struct {
	Origin      string   `json:"origin"`
	OriginDevno string   `json:"origin_devno"`
	Redirector  string   `json:"redirector"`
	Front       string   `json:"front"`
	Mountpoints []string `json:"mountpoints"`
}

// Attach brings a plain device under device-mapper while it stays in use, and
// keeps it there until Detach: the layer outlives the device's sets. Create does
// without it, as long as a set exists. Nobody is frozen or suspended. It blocks
// until everything that was under way has reached the device. To attach what is
// attached already is no error. Cancelling ctx takes everything back.
//
// Without the kernel module a device that nobody uses is adopted: from then on the
// front is to be used in its place, and is an origin like others. One in use is
// refused with CodeUnsupported or CodeBusy.
func (m *Manager) Attach(ctx context.Context, origin string) (a *Attachment, err error) {
	s, err := m.open("attach", "")
	if err != nil {
		return nil, err
	}
	defer s.watching(ctx, "look at the device")()
	defer s.close()
	a, err = s.attach(ctx, origin)
	return a, s.fail(err)
}

// Detach ends what Attach made. A device with sets is refused with CodeBusy, and
// so is an adopted one that is mounted.
// Past the point where writers left the front nothing can be put back: a failure
// then has CodePartial, and the same call again goes on.
func (m *Manager) Detach(ctx context.Context, origin string) (err error) {
	s, err := m.open("detach", "")
	if err != nil {
		return err
	}
	defer s.watching(ctx, "look at the device")()
	defer s.close()
	return s.fail(s.detach(ctx, origin))
}

// plainOrigin finds and locks an origin, and reads what there is of it.
func (s *session) plainOrigin(ctx context.Context, spec string) (*facts, *journal.Locks, error) {
	if _, err := s.recoverInterrupted(ctx); err != nil {
		return nil, nil, err
	}
	mounts, err := s.mounts()
	if err != nil {
		return nil, nil, err
	}
	dev, err := s.read.Resolve(spec, mounts)
	if err != nil {
		return nil, nil, err
	}
	ours, err := s.read.Look()
	if err != nil {
		return nil, nil, err
	}
	dev = s.read.Adopter(dev, ours)
	locks, err := s.state.Lock(ownPID(), journal.OriginKey(dev.String()))
	if err != nil {
		return nil, nil, err
	}
	f, err := s.originFacts(spec, dev)
	if err != nil {
		return nil, nil, errors.Join(err, locks.Release())
	}
	return f, locks, nil
}

func (s *session) originFacts(spec string, dev targets.DevNo) (*facts, error) {
	f := &facts{above: map[targets.DevNo][]targets.DevNo{dev: {dev}}}
	var err error
	if f.mounts, err = s.mounts(); err != nil {
		return nil, err
	}
	if f.ours, err = s.read.Look(); err != nil {
		return nil, err
	}
	o, err := s.read.Origin(spec, dev, f.ours)
	f.request.Volumes = []plan.VolumeRequest{{Origin: o}}
	return f, err
}

func (s *session) attach(ctx context.Context, spec string) (*Attachment, error) {
	f, locks, err := s.plainOrigin(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer s.release(locks)
	o := f.request.Volumes[0].Origin
	if o.Adopted() {
		return s.adopted(f, o), nil
	}
	p, err := plan.AttachOnly(plan.AttachRequest{Origin: o, ID: newID(), Mounted: len(f.mountpoints(o.Dev)) > 0})
	if err != nil {
		return nil, err
	}
	record := journal.Attachment{Base: p.Set, ID: p.ID, Since: time.Now().UTC().Truncate(time.Second)}
	if o.Base != nil {
		record.ID, _, _, _ = plan.ParseUUID(o.Base.UUID)
	}
	if known, err := s.state.Attached(record.Base); err == nil && known.ID == record.ID {
		record.Since = known.Since // it has stood all the while
	}
	runner := s.runner(&facts{}, CreateRequest{})
	intent, err := s.begin(p, runner)
	if err != nil {
		return nil, err
	}
	if _, err := runner.Run(ctx, p); err != nil {
		return nil, s.ended(intent, err)
	}
	if err := s.state.Attach(record); err != nil {
		return nil, s.takeAttachBack(ctx, p, intent, err)
	}
	s.tidy("journal entry", s.state.End(intent)) // the next command ends it
	return &Attachment{
		Origin: o.Path, OriginDevno: o.Dev.String(), Redirector: plan.RedirectorOf(o).Name(),
		Front: "/dev/mapper/" + p.Volumes[0].Front, Mountpoints: f.mountpoints(o.Dev),
	}, nil
}

// adopted is what there is of a device that stands on a plain one.
func (s *session) adopted(f *facts, o plan.Origin) *Attachment {
	table := o.Table
	if o.Base != nil {
		table = o.Base.Table
	}
	a := &Attachment{Redirector: plan.RedirectorOf(o).Name(), Front: "/dev/mapper/" + o.Name, Mountpoints: f.mountpoints(o.Dev)}
	for _, d := range table.Devices() {
		a.Origin, a.OriginDevno = s.read.Node(d.DevNo), d.DevNo.String()
	}
	return a
}

// takeAttachBack undoes an attach whose record could not be written. A layer
// that sets already used stays theirs.
func (s *session) takeAttachBack(ctx context.Context, p *plan.Plan, i journal.Intent, cause error) error {
	if !p.Volumes[0].NewBase {
		return errors.Join(cause, s.state.End(i))
	}
	// It may be there although writing it failed, and would keep the base.
	err := s.state.Detach(p.Set)
	if err == nil {
		err = s.teardown(context.WithoutCancel(ctx), p.Set, p.ID, true, s.dropAttachment(p.Set))
	}
	if err != nil {
		return &run.UndoError{Cause: cause, Undo: err}
	}
	return errors.Join(cause, s.state.End(i))
}

// dropAttachment is the last act of a detach.
func (s *session) dropAttachment(base string) func() error {
	return func() error { return s.state.Detach(base) }
}

func (s *session) detach(ctx context.Context, spec string) error {
	f, locks, err := s.plainOrigin(ctx, spec)
	if err != nil {
		return err
	}
	defer s.release(locks)
	o := f.request.Volumes[0].Origin
	r, err := s.attachedLayer(f, o)
	if err != nil {
		return err
	}
	p := plan.Remove(r)
	p.Op = "detach"
	runner := s.runner(&facts{}, CreateRequest{})
	affects(p, r)
	intent, err := s.begin(p, runner)
	if err != nil {
		return err
	}
	if _, err := runner.Run(ctx, p); err != nil {
		return s.ended(intent, err)
	}
	if err := s.state.Detach(r.Set); err != nil {
		return err
	}
	s.tidy("journal entry", s.state.End(intent))
	return nil
}

// attached tells whether the layer of an origin was asked for by itself.
func (s *session) attached(o plan.Origin) (bool, error) {
	if o.Adopted() {
		return true, nil
	}
	if o.Plain == nil || o.Base == nil {
		return false, nil
	}
	id, _, _, _ := plan.ParseUUID(o.Base.UUID)
	return s.state.HeldBase(o.Base.Name, id)
}

// attachedLayer is what a detach takes down. It refuses what is not attached, and
// what is still in use. A layer whose sets were made by create alone goes with them.
func (s *session) attachedLayer(f *facts, o plan.Origin) (plan.RemoveRequest, error) {
	if !o.Adopted() && (o.Plain == nil || o.Base == nil) {
		return plan.RemoveRequest{}, plan.Refuse(plan.NotFound, o.Path, "dmsnap graph shows the layers there are", "%s is not attached", o.Path)
	}
	if o.Base != nil && (len(o.Base.Images) > 0 || f.ours.CarriesStore(o.Base.Dev)) {
		return plan.RemoveRequest{}, plan.Refuse(plan.Busy, o.Path, "remove its sets first, dmsnap list names them", "%s has sets", o.Path)
	}
	if !o.Adopted() {
		return plan.RemoveRequest{Set: o.Base.Name, ID: newID(), Volumes: []plan.RemoveVolume{{Origin: o, Last: true}}}, nil
	}
	if mounted := f.mountpoints(o.Dev); len(mounted) > 0 {
		return plan.RemoveRequest{}, plan.Refuse(plan.Busy, o.Path, "unmount it first", "%s is mounted on %s", o.Path, strings.Join(mounted, ", "))
	}
	id, _, _, _ := plan.ParseUUID(o.UUID)
	return plan.RemoveRequest{Set: o.Name, ID: id, Adopted: o.Name}, nil
}
