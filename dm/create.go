package dm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// Create cuts a set: one image of each origin, all of the same instant. It
// blocks until the images are usable.
//
// Cancelling ctx before the window takes everything back; inside the window it
// is not looked at. A Create that fails has changed nothing, unless its code is
// CodeUnrecovered, or CodePartial: then the set exists, but could not be read.
func (m *Manager) Create(ctx context.Context, r CreateRequest) (set *Set, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	s, err := m.open("create", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	r.Name = nameOf(r)
	defer s.warnOfStalls(ctx, "inspect origins, filesystems and stores")()
	set, err = s.create(ctx, r)
	return set, s.fail(err)
}

// PlanCreate returns the steps Create would take, and changes nothing.
func (m *Manager) PlanCreate(_ context.Context, r CreateRequest) (p *Plan, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	s, err := m.open("create", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.read.LoadNothing = true
	if r.Name == "" {
		r.Name = "snap"
	}
	if r, err = s.origins.selectOrigins(r); err != nil {
		return nil, s.fail(err)
	}
	p, err = (&creation{session: s, request: r, id: newID()}).planOnly()
	return p, s.fail(err)
}

func (s *session) create(ctx context.Context, r CreateRequest) (set *Set, err error) {
	c, err := s.newCreation(r)
	if err != nil {
		return nil, err
	}
	_, err = s.perform(ctx, c.change())
	return c.set, err
}

// creation is one set that is to be cut.
type creation struct {
	*session
	request CreateRequest
	id      string
	facts   *facts
	hooks   *hooks
	set     *Set
}

func (s *session) newCreation(r CreateRequest) (*creation, error) {
	if err := plan.CheckSetName(r.Name); err != nil {
		return nil, plan.Refuse(plan.Usage, "", "choose another --name", "%v", err)
	}
	if err := s.needGuard(); err != nil {
		return nil, err
	}
	r, err := s.origins.selectOrigins(r)
	if err != nil {
		return nil, err
	}
	return &creation{session: s, request: r, id: newID()}, nil
}

// planOnly takes no lock and opens no filesystem.
func (c *creation) planOnly() (p *Plan, err error) {
	if err := c.checkNoRecord(); err != nil {
		return nil, err
	}
	if c.facts, err = c.origins.gather(c.request, c.id); err != nil {
		return nil, err
	}
	if err := c.checkNameFree(); err != nil {
		return nil, err
	}
	if err := c.origins.checkFreezable(c.facts); err != nil {
		return nil, err
	}
	planned, err := plan.Create(c.facts.request)
	if err != nil {
		return nil, err
	}
	return redactedPlan(planned), nil
}

func (c *creation) change() change {
	return change{
		keys: c.keys, look: c.look, plan: c.plan, intentWritten: c.intentWritten, commit: c.commit, cleanUp: c.closeFilesystems, result: c.result,
		runner: func() *run.Runner {
			r := c.runner(c.facts, c.request)
			r.LastLook = func() error { return c.uses().checkFacts(c.facts) }
			return r
		},
		leases: true,
	}
}

func (c *creation) uses() useChecker { return useChecker{c.kernel, c.read} }

// keys are those of the name, of what the origins lead to now, and of the stores
// that were named.
func (c *creation) keys() ([]string, error) {
	if err := c.sets.leases.check(c.request.Lease); err != nil {
		return nil, err
	}
	mounts, err := ownMounts(c.kernel)
	if err != nil {
		return nil, err
	}
	var origins []targets.DevNo
	for _, origin := range c.request.Origins {
		dev, err := c.read.Resolve(origin, mounts)
		if err != nil {
			return nil, err
		}
		origins = append(origins, dev)
	}
	keys := c.lockKeys(origins)
	for _, spec := range c.request.Stores {
		keys = append(keys, namedStoreKeys(c.read, spec)...)
	}
	return keys, nil
}

func (c *creation) lockKeys(origins []targets.DevNo) []string {
	keys := []string{journal.SetKey(c.request.Name), journal.IDKey(c.id)}
	for _, dev := range origins {
		keys = append(keys, journal.OriginKey(dev.String()))
	}
	return keys
}

// look gathers the facts. What an origin's name leads to may have changed since its
// lock was taken.
func (c *creation) look() (keys []string, err error) {
	if err := c.checkNoRecord(); err != nil {
		return nil, err // before its stores are found to be in use, by that set
	}
	if c.facts, err = c.origins.gather(c.request, c.id); err != nil {
		return nil, err
	}
	var origins []targets.DevNo
	for _, v := range c.facts.request.Volumes {
		origins = append(origins, v.Origin.Dev)
		store, err := storeKeys(c.read, v.Store)
		if err != nil {
			return nil, err
		}
		keys = append(keys, store...)
	}
	return append(keys, c.lockKeys(origins)...), nil
}

// plan opens the filesystems, too.
func (c *creation) plan(context.Context) (*plan.Plan, error) {
	f := c.facts
	if err := c.checkNameFree(); err != nil {
		return nil, err
	}
	if err := c.checkNotInterrupted(); err != nil {
		return nil, err
	}
	c.stalls.Now("open the filesystems")
	if err := f.openFilesystems(c.kernel); err != nil {
		return nil, err
	}
	if err := c.origins.checkFreezable(f); err != nil {
		return nil, err
	}
	return plan.Create(f.request)
}

// closeFilesystems closes the filesystems that plan opened.
func (c *creation) closeFilesystems(err error) { c.tidy("filesystems", c.facts.closeFilesystems(err)) }

func (c *creation) intentWritten(d *done) error {
	c.hooks = newHooks(c.state, c.log, &d.intent, d.plan, c.request)
	d.runner.Hook = c.hooks.call
	return nil
}

// commit writes the record. What comes after needs it.
func (c *creation) commit(ctx context.Context, d done) error {
	c.uses().recheckIdle(c.facts)
	set := newRecord(d.plan, c.facts, c.request, c.facts.receipt(d.trace, d.plan, c.request, c.hooks.done), d.intent)
	if err := errors.Join(c.sets.leases.begin(&set, c.request.Lease), c.state.SaveSet(set)); err != nil {
		return c.takeBack(ctx, d, err)
	}
	d.runner.After(context.WithoutCancel(ctx))
	return nil
}

// result reads the new set back. It exists by now, whatever fails.
func (c *creation) result() (err error) {
	name := c.request.Name
	c.set, err = c.sets.show(name)
	if err == nil && (c.set.Receipt == nil || c.set.UUID != c.id) {
		err = errors.New("its record was lost")
	}
	if err != nil {
		c.session.set, c.set = name, nil
		return &run.PartialError{Err: fmt.Errorf("the set exists, but cannot be read: %w", err)}
	}
	return nil
}

// checkNotInterrupted refuses the name of a set that an interrupted operation is about, which
// could not be ended yet: its end would meet the new set.
func (c *creation) checkNotInterrupted() error {
	name := c.request.Name
	intents, err := c.state.Intents()
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.Set == name {
			return plan.Refuse(plan.Busy, "", "choose another --name, or run dmsnap recover first", "an interrupted %s of another set %s has not been cleaned up yet", i.Op, name)
		}
	}
	return nil
}

// checkNoRecord refuses a name that a record already has.
func (c *creation) checkNoRecord() error {
	name := c.request.Name
	_, err := c.state.LoadSet(name)
	if err == nil {
		return plan.Refuse(plan.Exists, "", "choose another --name, or remove that set", "a set %s already exists", name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// checkNameFree refuses a name that a device already has.
func (c *creation) checkNameFree() error {
	name := c.request.Name
	for d := range c.facts.ours.Devices() {
		for _, v := range c.facts.request.Volumes {
			if d.Name == plan.ImageName(name, v.Origin.Volume) || d.Name == plan.StoreName(name, v.Origin.Volume) {
				return plan.Refuse(plan.Exists, d.Name, "choose another --name, or remove that set", "a device %s already exists", d.Name)
			}
		}
	}
	return nil
}

// takeBack removes a set whose record could not be written.
func (c *creation) takeBack(ctx context.Context, d done, cause error) error {
	p := d.plan
	if err := c.teardown(context.WithoutCancel(ctx), p.Set, p.ID, true, func() error { return c.state.DropSet(p.Set, p.ID) }); err != nil {
		c.session.set = p.Set
		return &run.UndoError{Cause: cause, Undo: err}
	}
	c.tidy("stores", d.runner.PutBack())
	return errors.Join(cause, c.state.End(d.intent))
}

func newRecord(p *plan.Plan, f *facts, r CreateRequest, receipt Receipt, i journal.Intent) journal.Set {
	b, err := json.Marshal(receipt)
	if err != nil {
		panic(fmt.Sprintf("a receipt is plain data: %v", err))
	}
	set := journal.Set{
		Name: p.Set, ID: p.ID, BootID: i.BootID, Created: receipt.End.UTC(), Persistent: plan.Lasts(p.Volumes[0].Mode),
		Labels: r.Labels, Receipt: b,
	}
	for _, v := range p.Volumes {
		set.Volumes = append(set.Volumes, journal.Volume{
			Name: v.Name, Origin: v.Origin.Path, Asked: v.Origin.Spec, OriginDevno: v.Origin.Dev.String(), FrontUUID: v.Origin.UUID,
			Mountpoints: f.mountpoints(v.Origin.Dev), FSType: f.fstype(v.Origin.Dev),
			StoreKind: v.StoreFacts.Kind, StorePath: v.StoreFacts.Path, StoreBytes: v.StoreSize.Bytes(),
			StoreLead: layout.Lead, StoreWhy: v.StoreFacts.Why, StoreFile: v.File,
			SizeBytes: v.Origin.Size.Bytes(), ChunkBytes: v.Chunk.Bytes(), Writable: v.Writable,
		})
	}
	return set
}

// nameOf is the name of the set, made from the time if the request has none, to the
// microsecond: two may be cut within one second.
func nameOf(r CreateRequest) string {
	if r.Name == "" {
		return time.Now().UTC().Format("snap-20060102-150405.000000")
	}
	return r.Name
}
