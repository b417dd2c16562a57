package dm

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/targets"
)

// Attachment is a plain device whose writers use a device-mapper device: they are
// led there ("module"), or its users mount it ("adopted").
type Attachment struct {
	Origin      string     `json:"origin"`
	OriginDevno DevNo      `json:"origin_devno"`
	Redirector  Redirector `json:"redirector"`
	Front       string     `json:"front"`
	Mountpoints []string   `json:"mountpoints"`
	// Layer is the table that all I/O passes between front and device, if there is one.
	Layer string `json:"layer"`
}

// Attach brings a plain device under device-mapper while it stays in use, and
// keeps it there until Detach: the layer outlives the device's sets. Create does
// without it, as long as a set exists. Nobody is frozen or suspended. It blocks
// until everything that was under way has reached the device. To attach what is
// attached already is no error. Cancelling ctx takes everything back.
//
// Without the kernel module an unused device is adopted: from then on the
// front is to be used in its place, and is an origin like others. One in use is
// refused with CodeUnsupported or CodeBusy.
func (m *Manager) Attach(ctx context.Context, origin string) (*Attachment, error) {
	return m.attach(ctx, origin, nil)
}

// AttachLayer is Attach with a device of another target between front and device, which
// all I/O passes, that of images and of stores in files too, until Detach. Its table is written as for dmsetup create and
// names the device by its path where the target is to find it:
//
//	0 2097152 era /dev/vdb1 /dev/vda1 128
//
// It must be as large as the device and leave each sector where it is: targets other
// than linear, era, delay, dust and log-writes are refused, with CodeUsage, and so is a
// device for its own data that is in use or not empty. It needs the kernel module.
//
// No snapshot harms its origin; a layer may. If the metadata of an era fills up or
// fails, writes to the device fail.
func (m *Manager) AttachLayer(ctx context.Context, origin, table string) (*Attachment, error) {
	return m.attach(ctx, origin, &table)
}

func (m *Manager) attach(ctx context.Context, origin string, layer *string) (a *Attachment, err error) {
	s, err := m.open("attach", "")
	if err != nil {
		return nil, err
	}
	defer s.warnOfStalls(ctx, "inspect the device")()
	defer s.close()
	a, err = s.attach(ctx, origin, layer)
	return a, s.fail(err)
}

// Detach ends what Attach made. A device with sets is refused with CodeBusy, and
// so is an adopted one that is mounted.
// Past the point where writers left the front nothing can be put back: a failure
// then has CodePartial, and the same call again continues.
func (m *Manager) Detach(ctx context.Context, origin string) (err error) {
	s, err := m.open("detach", "")
	if err != nil {
		return err
	}
	defer s.warnOfStalls(ctx, "inspect the device")()
	defer s.close()
	return s.fail(s.detach(ctx, origin))
}

// attachTarget is a plain device that is to be attached or detached.
type attachTarget struct {
	*session
	spec  string
	id    string // of a layer to be made
	facts *facts
}

// look finds the device that is meant: the one that an adopted device was put
// beneath, and the layer that it has.
func (l *attachTarget) look() ([]string, error) {
	mounts, err := allMounts(l.kernel)
	if err != nil {
		return nil, err
	}
	dev, err := l.read.Resolve(l.spec, mounts)
	if err != nil {
		return nil, err
	}
	ours, err := l.read.Look()
	if err != nil {
		return nil, err
	}
	dev = l.read.Adopter(dev, ours)
	l.facts = &facts{ours: ours, mounts: mounts, above: map[targets.DevNo][]targets.DevNo{dev: {dev}}}
	o, err := l.readAttached(dev, ours)
	l.facts.request.Volumes = []plan.VolumeRequest{{Origin: o}}
	return []string{journal.OriginKey(dev.String()), journal.IDKey(l.id), journal.IDKey(baseID(o))}, err
}

// readAttached reads what there is of the device. One that an attach was killed over before it
// had a table has no node and no size.
func (l *attachTarget) readAttached(dev targets.DevNo, ours *stack.View) (plan.Origin, error) {
	if d := ours.At(dev); d != nil && d.Role == plan.RoleAdopted && len(d.Table) == 0 {
		return plan.Origin{Spec: l.spec, Dev: dev, Path: "/dev/mapper/" + d.Name, Name: d.Name, UUID: d.UUID}, nil
	}
	return l.read.Origin(l.spec, dev, ours)
}

func (l *attachTarget) origin() plan.Origin { return l.facts.request.Volumes[0].Origin }

// baseID is the id of the base that an attached origin has; "" if it has none.
func baseID(o plan.Origin) (id string) {
	switch {
	case o.Adopted():
		id, _, _, _ = plan.ParseUUID(o.UUID)
	case o.Base != nil:
		id, _, _, _ = plan.ParseUUID(o.Base.UUID)
	}
	return id
}

func (s *session) attach(ctx context.Context, spec string, layer *string) (*Attachment, error) {
	if err := s.needGuard(); err != nil {
		return nil, err
	}
	a := &attacher{attachTarget: attachTarget{session: s, spec: spec, id: newID()}, layer: layer}
	_, err := s.perform(ctx, change{look: a.look, plan: a.plan, commit: a.commit, leases: true})
	return a.made, err
}

// attacher is a layer that is to be made.
type attacher struct {
	attachTarget
	layer   *string // as the user wrote it; nil for none
	request plan.AttachRequest
	record  journal.Attachment
	made    *Attachment
}

// look finds the devices of the layer, too.
func (a *attacher) look() ([]string, error) {
	keys, err := a.attachTarget.look()
	if err != nil {
		return nil, err
	}
	o := a.origin()
	a.request = plan.AttachRequest{Origin: o, ID: a.id, Mounted: len(a.facts.mountpoints(o.Dev)) > 0}
	if a.layer == nil {
		return keys, nil
	}
	if a.request.Layer, err = a.read.ReadLayer(*a.layer); err != nil {
		return nil, err
	}
	for _, d := range a.request.Beside() {
		keys = append(keys, journal.OriginKey(d.String()))
	}
	return keys, nil
}

func (a *attacher) plan(context.Context) (*plan.Plan, error) {
	o := a.origin()
	if o.Adopted() && len(o.Table) == 0 {
		return nil, plan.Refuse(plan.Busy, o.Path, "undo it with dmsnap detach, then try again", "%s has no table: an attach was interrupted", o.Path)
	}
	if o.Adopted() && a.layer == nil {
		a.made = a.describeAdopted(o)
		return nil, nil
	}
	if err := a.inspectBeside(); err != nil {
		return nil, err
	}
	p, err := plan.AttachOnly(a.request)
	if err != nil {
		return nil, err
	}
	a.record = journal.Attachment{Base: p.Set, ID: cmp.Or(baseID(o), p.ID), Since: time.Now().UTC().Truncate(time.Second)}
	if known, err := a.state.Attached(p.Set); err == nil && known.ID == a.record.ID {
		a.record.Since = known.Since // it has stood all the while
	}
	return p, nil
}

// inspectBeside looks at what the layer is to write to beside the device. What is attached
// already uses it.
func (a *attacher) inspectBeside() error {
	o := a.origin()
	if a.layer == nil || o.Plain == nil || o.Base != nil {
		return nil
	}
	if err := a.request.CheckLayer(); err != nil {
		return err
	}
	h := &store.Host{Read: a.read, Ours: a.facts.ours, Mounts: a.facts.mounts.Table}
	a.request.Sizes = map[targets.DevNo]targets.Sectors{}
	for _, d := range a.request.Beside() {
		size, err := h.Beside(d, o)
		if err != nil {
			return err
		}
		a.request.Sizes[d] = size
	}
	return nil
}

func (a *attacher) commit(ctx context.Context, d done) error {
	if err := a.state.Attach(a.record); err != nil {
		return a.takeBack(ctx, d.plan, d.intent, err)
	}
	o := a.origin()
	a.made = &Attachment{
		Origin: o.Path, OriginDevno: o.Dev, Redirector: Redirector(plan.RedirectorOf(o).Name()),
		Front: "/dev/mapper/" + d.plan.Volumes[0].Front, Mountpoints: a.facts.mountpoints(o.Dev),
		Layer: a.read.Named(a.request.Layer).String(),
	}
	if o.Base != nil {
		a.made.Layer = a.read.Layer(*a.facts.ours.Named(o.Base.Name)).String()
	}
	return nil
}

// describeAdopted describes the device that stands on an adopted one.
func (a *attacher) describeAdopted(o plan.Origin) *Attachment {
	table := o.Table
	if o.Base != nil {
		table = o.Base.Table
	}
	made := &Attachment{Redirector: Redirector(plan.RedirectorOf(o).Name()), Front: "/dev/mapper/" + o.Name, Mountpoints: a.facts.mountpoints(o.Dev)}
	for _, d := range table.Devices() {
		made.Origin, made.OriginDevno = a.read.Node(d.DevNo), d.DevNo
	}
	return made
}

// takeBack undoes an attach whose record could not be written. A layer
// that sets already used stays theirs.
func (a *attacher) takeBack(ctx context.Context, p *plan.Plan, i journal.Intent, cause error) error {
	if !p.Volumes[0].NewBase {
		return errors.Join(cause, a.state.End(i))
	}
	// It may be there although writing it failed, and would keep the base.
	err := a.state.Detach(p.Set, p.ID)
	if err == nil {
		err = a.teardown(context.WithoutCancel(ctx), p.Set, p.ID, true, func() error { return a.state.Detach(p.Set, p.ID) })
	}
	if err != nil {
		return &run.UndoError{Cause: cause, Undo: err}
	}
	return errors.Join(cause, a.state.End(i))
}

func (s *session) detach(ctx context.Context, spec string) error {
	d := &detacher{attachTarget: attachTarget{session: s, spec: spec}}
	_, err := s.perform(ctx, change{look: d.look, plan: d.plan, commit: d.commit, leases: true})
	return err
}

// detacher is a layer that is to go.
type detacher struct {
	attachTarget
	rest plan.RemoveRequest
}

func (d *detacher) plan(context.Context) (p *plan.Plan, err error) {
	if d.rest, err = d.detachRequest(d.origin()); err != nil {
		return nil, err
	}
	p = removalPlan(d.rest)
	p.Op = "detach"
	return p, nil
}

// commit comes last: until then recover ends what was begun.
func (d *detacher) commit(context.Context, done) error {
	return d.state.Detach(d.rest.Set, d.rest.ID)
}

// isAttached reports whether an origin was attached by Attach, not by a create.
func isAttached(state journal.Dir, o plan.Origin) (bool, error) {
	if o.Adopted() {
		return true, nil
	}
	if o.Plain == nil || o.Base == nil {
		return false, nil
	}
	return state.IsAttached(o.Base.Name, baseID(o))
}

// detachRequest is what a detach removes. It refuses what is not attached, and
// what is still in use. A layer whose sets were made by create alone goes with them.
func (d *detacher) detachRequest(o plan.Origin) (plan.RemoveRequest, error) {
	if !o.Adopted() && (o.Plain == nil || o.Base == nil) {
		return plan.RemoveRequest{}, plan.Refuse(plan.NotFound, o.Path, "dmsnap graph shows attached devices", "%s is not attached", o.Path)
	}
	if o.Base != nil && (len(o.Base.Images) > 0 || d.facts.ours.CarriesStore(o.Base.Dev)) {
		return plan.RemoveRequest{}, plan.Refuse(plan.Busy, o.Path, "remove its sets first; dmsnap list shows them", "%s has sets", o.Path)
	}
	if !o.Adopted() {
		return plan.RemoveRequest{Set: o.Base.Name, ID: baseID(o), Volumes: []plan.RemoveVolume{{Origin: o, Last: true}}}, nil
	}
	if mounted := d.facts.mountpoints(o.Dev); len(mounted) > 0 {
		return plan.RemoveRequest{}, plan.Refuse(plan.Busy, o.Path, "unmount it first", "%s is mounted on %s", o.Path, strings.Join(mounted, ", "))
	}
	return plan.RemoveRequest{Set: o.Name, ID: baseID(o), Adopted: o.Name}, nil
}
