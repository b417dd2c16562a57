package dm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/ioctl"
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
	defer s.watching(ctx, "look at origins, filesystems and stores")()
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
	if r.Name == "" {
		r.Name = "snap"
	}
	p, err = s.planCreate(r)
	return p, s.fail(err)
}

func (s *session) planCreate(r CreateRequest) (*Plan, error) {
	f, err := s.gather(r)
	if err != nil {
		return nil, err
	}
	if err := s.nameFree(r.Name, f); err != nil {
		return nil, err
	}
	if err := s.freezable(f); err != nil {
		return nil, err
	}
	p, err := plan.Create(f.request)
	if err != nil {
		return nil, err
	}
	return shown(p), nil
}

func (s *session) create(ctx context.Context, r CreateRequest) (set *Set, err error) {
	locks, err := s.lockedFor(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.release(locks)
	f, p, err := s.planned(r, false)
	if err != nil {
		return nil, err
	}
	defer func() { s.drop(f, err) }()
	runner := s.runner(f, r)
	runner.LastLook = func() error { return s.lastLook(f) }
	intent, err := s.begin(p, runner)
	if err != nil {
		return nil, err
	}
	hooks := s.hooks(&intent, p, r)
	runner.Hook = hooks.call
	trace, err := runner.Run(ctx, p)
	if err != nil {
		return nil, s.ended(intent, err)
	}
	return s.taken(ctx, p, f, r, f.receipt(trace, p, r, hooks.done), intent, runner)
}

// lockedFor ends what was interrupted and takes the locks of a create.
func (s *session) lockedFor(ctx context.Context, r CreateRequest) (*journal.Locks, error) {
	if err := plan.CheckSetName(r.Name); err != nil {
		return nil, plan.Refuse(plan.Usage, "", "choose another --name", "%v", err)
	}
	if _, err := s.recoverInterrupted(ctx); err != nil {
		return nil, err
	}
	s.expireToo(ctx)
	if err := s.leasable(r); err != nil {
		return nil, err
	}
	return s.lockForCreate(ctx, r)
}

// lockForCreate takes the locks of all origins and of the name. Facts are
// gathered after that: what was seen before may have changed.
func (s *session) lockForCreate(ctx context.Context, r CreateRequest) (*journal.Locks, error) {
	mounts, err := s.ownMounts()
	if err != nil {
		return nil, err
	}
	keys := []string{journal.SetKey(r.Name)}
	for _, origin := range r.Origins {
		dev, err := s.read.Resolve(origin, mounts)
		if err != nil {
			return nil, err
		}
		keys = append(keys, journal.OriginKey(dev.String()))
	}
	return s.lock(ctx, keys...)
}

// planned looks up what there is, opens the filesystems and makes the plan. The
// locks are held. The caller drops the facts.
func (s *session) planned(r CreateRequest, phased bool) (*facts, *plan.Plan, error) {
	f, err := s.gather(r)
	if err != nil {
		return nil, nil, err
	}
	f.request.Phased = phased
	p, err := s.planFrom(f, r)
	if err != nil {
		s.drop(f, err)
		return nil, nil, err
	}
	return f, p, nil
}

func (s *session) planFrom(f *facts, r CreateRequest) (*plan.Plan, error) {
	if err := s.nameFree(r.Name, f); err != nil {
		return nil, err
	}
	s.watch.Now("open the filesystems")
	if err := s.hold(f); err != nil {
		return nil, err
	}
	if err := s.freezable(f); err != nil {
		return nil, err
	}
	return plan.Create(f.request)
}

// taken writes the record of a set that was cut. What comes after needs it.
func (s *session) taken(ctx context.Context, p *plan.Plan, f *facts, r CreateRequest, receipt Receipt, i journal.Intent, runner *run.Runner) (*Set, error) {
	set := record(p, f, r, receipt, i)
	if err := errors.Join(s.leased(&set, r.Lease), s.state.SaveSet(set)); err != nil {
		return nil, s.takeBack(ctx, p, i, err)
	}
	runner.After(context.WithoutCancel(ctx))
	return s.created(r.Name, i)
}

// created reads the new set back. It exists by now, whatever fails.
func (s *session) created(name string, i journal.Intent) (*Set, error) {
	if err := s.state.End(i); err != nil {
		s.log.Warn("the journal entry of a finished create stays until the next command", "error", err)
	}
	set, err := s.show(name)
	if err == nil && set.Receipt == nil {
		err = errors.New("its record was lost")
	}
	if err != nil {
		s.set = name
		return nil, &run.PartialError{Err: fmt.Errorf("the set exists, but cannot be read: %w", err)}
	}
	return set, nil
}

// nameFree refuses a name that a record or a device already has.
func (s *session) nameFree(name string, f *facts) error {
	_, err := s.state.LoadSet(name)
	if err == nil {
		return plan.Refuse(plan.Exists, "", "choose another --name, or remove that set", "there is a set %s already", name)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for d := range f.ours.Devices() {
		for _, v := range f.request.Volumes {
			if d.Name == plan.ImageName(name, v.Origin.Volume) || d.Name == plan.StoreName(name, v.Origin.Volume) {
				return plan.Refuse(plan.Exists, d.Name, "choose another --name, or remove that set", "there is a device %s already", d.Name)
			}
		}
	}
	return nil
}

// begin writes the intent: from here on an interrupted operation can be told
// from a finished one.
func (s *session) begin(p *plan.Plan, r *run.Runner) (i journal.Intent, err error) {
	if i, err = s.tryBegin(p, r); err != nil {
		return i, errors.Join(err, s.state.End(i))
	}
	return i, nil
}

// tryBegin leaves what there is of the intent when it fails. The semaphore of the
// cookie comes after the intent that names it: it outlives a process that dies.
func (s *session) tryBegin(p *plan.Plan, r *run.Runner) (i journal.Intent, err error) {
	if i, err = s.intent(p); err != nil {
		return i, err
	}
	r.Cookie, err = s.noted(&i)
	r.Renew = func() (*ioctl.Cookie, error) { return s.notedAgain(p.ID, p.Op) }
	return i, err
}

// notedAgain changes the cookie of an intent as it is on disk: the process may die
// while it takes back, too.
func (s *session) notedAgain(id, op string) (*ioctl.Cookie, error) {
	intents, err := s.state.Intents()
	if err != nil {
		return nil, err
	}
	for _, i := range intents {
		if i.ID == id && i.Op == op && i.Unread == nil {
			return s.noted(&i)
		}
	}
	return nil, fs.ErrNotExist
}

// noted writes an intent with a new udev cookie, nil on a host without udev.
func (s *session) noted(i *journal.Intent) (*ioctl.Cookie, error) {
	if !s.kernel.UdevRunning() {
		return nil, s.state.Begin(*i)
	}
	cookie, err := s.kernel.PickCookie()
	if err != nil {
		return nil, err
	}
	i.Cookie = cookie.String()
	if err := s.state.Begin(*i); err != nil {
		return nil, err
	}
	err = cookie.Make()
	if errors.Is(err, unix.EEXIST) { // another program has it
		return s.noted(i)
	}
	if err != nil {
		return nil, err
	}
	return cookie, nil
}

func (s *session) intent(p *plan.Plan) (journal.Intent, error) {
	boot, err := s.bootID()
	i := journal.Intent{
		Op: p.Op, Set: p.Set, ID: p.ID, BootID: boot, PID: ownPID(), Started: time.Now().UTC().Truncate(time.Second),
	}
	i.Freezes = slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Action == plan.Freeze })
	for _, v := range p.Volumes {
		i.Bases = append(i.Bases, v.Base)
		i.Files = append(i.Files, v.File)
		if v.Origin.Known() {
			i.Origins = append(i.Origins, v.Origin.Dev.String())
		}
	}
	return i, err
}

// ended forgets the intent of an operation that took itself back. If it could
// not, or went too far for that, the intent stays for recover.
func (s *session) ended(i journal.Intent, err error) error {
	_, stuck := errors.AsType[*run.UndoError](err)
	_, partial := errors.AsType[*run.PartialError](err)
	if stuck || partial {
		s.set = i.Set // something of that name is left
		return err
	}
	return errors.Join(err, s.state.End(i))
}

// takeBack removes a set whose record could not be written.
func (s *session) takeBack(ctx context.Context, p *plan.Plan, i journal.Intent, cause error) error {
	if err := s.teardown(context.WithoutCancel(ctx), p.Set, p.ID, true, s.dropRecord(p.Set)); err != nil {
		s.set = p.Set
		return &run.UndoError{Cause: cause, Undo: err}
	}
	return errors.Join(cause, s.state.End(i))
}

func (s *session) runner(f *facts, r CreateRequest) *run.Runner {
	timeout := r.FreezeTimeout
	if timeout == 0 {
		timeout = defaultFreezeTimeout
	}
	return &run.Runner{
		StartGuard: s.guard(f, timeout),
		Kernel:     s.kernel, Control: s.ctl, Create: s.life.create, Log: s.log, Fail: s.Manager.fail, Observe: s.observe(cmp.Or(r.Name, s.set)),
		Freezers: f.freezers, Deadline: timeout, BusyTimeout: s.opts.BusyTimeout, UdevTimeout: s.opts.UdevTimeout,
		Watch: s.watch,
	}
}

func record(p *plan.Plan, f *facts, r CreateRequest, receipt Receipt, i journal.Intent) journal.Set {
	b, err := json.Marshal(receipt)
	if err != nil {
		panic(fmt.Sprintf("a receipt is plain data: %v", err))
	}
	set := journal.Set{
		Name: p.Set, ID: p.ID, BootID: i.BootID, Created: receipt.End.UTC(), Persistent: p.Volumes[0].Mode != targets.Transient,
		Labels: r.Labels, Receipt: b,
	}
	for _, v := range p.Volumes {
		set.Volumes = append(set.Volumes, journal.Volume{
			Name: v.Name, Origin: v.Origin.Path, OriginDevno: v.Origin.Dev.String(), FrontUUID: v.Origin.UUID,
			Mountpoints: f.mountpoints(v.Origin.Dev), FSType: f.fstype(v.Origin.Dev),
			StoreKind: v.StoreFacts.Kind, StorePath: v.StoreFacts.Path, StoreBytes: v.StoreSize.Bytes(),
			StoreWhy: v.StoreFacts.Why, StoreFile: v.File,
			SizeBytes: v.Origin.Size.Bytes(), ChunkBytes: v.Chunk.Bytes(), Writable: v.Writable,
		})
	}
	return set
}
