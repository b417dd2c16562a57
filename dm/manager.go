package dm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"os"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/nsexec"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/remains"
	"github.com/dmsnap/dmsnap/dm/internal/rescue"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// DefaultStateDir keeps what the kernel cannot: set names, labels, receipts and
// the journal.
const DefaultStateDir = "/var/lib/dmsnap"

// Defaults of Options and CreateRequest.
const (
	defaultUdevTimeout    = 30 * time.Second
	defaultBusyTimeout    = 5 * time.Second
	defaultFreezeTimeout  = 10 * time.Second
	defaultHookTimeout    = 30 * time.Second
	defaultSlowAfter      = 10 * time.Second
	defaultSample         = 100 * time.Millisecond
	defaultFlattenTimeout = time.Minute
)

// Options configure a Manager; the zero value works.
type Options struct {
	// Kernel is the border to use; nil means the host's.
	Kernel *ioctl.Kernel
	// StateDir is made with mode 0700 when missing. Empty: DefaultStateDir.
	StateDir string
	// Logger receives what happens outside the window; nil discards it.
	Logger *slog.Logger
	// Events is called for every step outside the window before it is made, in the
	// goroutine of the operation, which continues when it returns. Inside the window
	// it is never called. Nil: no call.
	Events func(Event)
	// UdevTimeout bounds the waits for udev. Zero: 30 s.
	UdevTimeout time.Duration
	// Guard is the command line of a guard process: a program that calls GuardMain
	// at once. It ends the window should this process die or stop, and lets RCU grace
	// periods be expedited meanwhile. Nil: that of the dmsnap package (DefaultGuard),
	// from its service (DefaultGuardSocket) where that runs; without it what begins
	// something is refused with ErrNoGuard. The caller's binary is never started
	// again unless it is named here.
	Guard []string
	// GuardSocket is where a service makes guards outside of our control group, so
	// that what ends all processes of that does not end the guard too. Where none
	// listens, Guard serves. Only with Guard.
	GuardSocket string
	// NoGuard goes without one: a process that dies in the window leaves filesystems
	// frozen until Recover is called by another. Only without Guard.
	NoGuard bool
	// Supervisor is the command line of a program that calls SupervisorMain at once: the
	// parent of a command that Exec runs. Nil: that of the dmsnap package.
	Supervisor []string
	// LockMemory locks the memory of the whole process for the window, so that no
	// page has to be read from a frozen filesystem, and unlocks all of it then.
	// For processes that do nothing else and may lie on an origin. Not with NoGuard.
	LockMemory bool
	// Wait bounds the wait for another process or goroutine that works on the same
	// set or origin. Zero: fail with CodeLocked at once.
	Wait time.Duration
	// BusyTimeout bounds the retries on a device that is busy, as udev often
	// opens new ones for a moment, and the wait for an LVM command that works on the
	// volume group of an origin. Zero: 5 s.
	BusyTimeout time.Duration
}

// Manager carries out operations on sets.
type Manager struct {
	opts  Options
	life  lifecycle
	state journal.Dir
	// fail is a failpoint for tests: it may fail any step before it runs.
	fail func(plan.Step) error
	// slowAfter is how long a call may take before a warning says so.
	slowAfter time.Duration
	// sample is for how long writes are counted to size a store.
	sample time.Duration
	// flattenTimeout is how long a flattening waits for an operation on its origin, such as
	// the cut of another set.
	flattenTimeout time.Duration
	// supervise stands in for the supervisor in tests.
	supervise func(command []string, p nsexec.Program) (supervisor, error)
}

// New makes a Manager. It opens nothing yet.
func New(o Options) *Manager {
	m := &Manager{life: libraryLifecycle{}, sample: defaultSample, slowAfter: defaultSlowAfter, flattenTimeout: defaultFlattenTimeout}
	if o.Kernel != nil {
		m.life = nil // the library knows only the host
	} else {
		o.Kernel = ioctl.Host()
	}
	if o.StateDir == "" {
		o.StateDir = DefaultStateDir
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.UdevTimeout == 0 {
		o.UdevTimeout = defaultUdevTimeout
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = defaultBusyTimeout
	}
	m.opts = o
	m.state = journal.Dir{Kernel: o.Kernel, Path: o.StateDir}
	return m
}

// session is one operation on one set, with its view of the kernel.
type session struct {
	*Manager
	op, set string
	kernel  *ioctl.Kernel
	ctl     *ioctl.Control
	read    *stack.Reader
	remains *remains.Reader
	sets    *lister
	origins *examiner
	log     *slog.Logger
	life    lifecycle
	stalls  *run.StallWarner // nil: nobody waits for the operation
	locked  []string         // the keys of the locks that it has, or asked for last
}

// open opens the control node, once for a whole operation.
func (m *Manager) open(op, set string) (*session, error) {
	k := m.opts.Kernel
	ctl, err := k.OpenControl()
	if err != nil {
		return nil, noDeviceMapper(k, op, set, err)
	}
	s := &session{
		Manager: m, op: op, set: set, kernel: k, ctl: ctl, log: m.opts.Logger, life: m.life,
		read: &stack.Reader{Kernel: k, Control: ctl},
	}
	s.remains = &remains.Reader{Kernel: k, Read: s.read, State: m.state, Log: s.log}
	s.sets = &lister{kernel: k, read: s.read, remains: s.remains, state: m.state, log: s.log, leases: leaseClock{s.read, s.log}}
	s.origins = &examiner{
		kernel: k, read: s.read, sets: s.sets, log: s.log,
		load: &loadMeter{read: s.read, sample: m.sample, rates: map[targets.DevNo]uint64{}},
	}
	if s.life == nil {
		s.life = controlLifecycle{ctl}
	}
	return s, nil
}

// warnOfStalls says what the operation does first; run, and parts that know better,
// says later what it does then.
func (s *session) warnOfStalls(ctx context.Context, what string) (stop func()) {
	s.stalls = run.NewStallWarner(ctx, s.log, s.slowAfter, what)
	return s.stalls.Stop
}

// fail makes the Error of the operation out of whatever its parts returned.
func (s *session) fail(err error) error {
	return diagnosis{op: s.op, set: s.set, kernel: s.kernel, ctl: s.ctl, holders: s.holders()}.fail(err)
}

func (s *session) holders() holderFinder { return holderFinder{s.kernel, s.read} }

// rescuer ends what dead operations hold.
func (s *session) rescuer() *rescue.Rescuer {
	return &rescue.Rescuer{Kernel: s.kernel, Control: s.ctl, Read: s.read, Log: s.log}
}

func (s *session) close() { s.tidy("control node", s.ctl.Close()) }

// lock takes the locks of an operation, all or none.
func (s *session) lock(ctx context.Context, noWait bool, keys ...string) (*journal.Locks, error) {
	s.stalls.Now("take the locks")
	defer s.stalls.Now("inspect the devices again")
	if noWait {
		return s.lockWithin(ctx, 0, keys...)
	}
	return s.lockWithin(ctx, s.opts.Wait, keys...)
}

// lockWithin waits for the locks until the limit is over, and says to guards which they are.
func (s *session) lockWithin(ctx context.Context, limit time.Duration, keys ...string) (*journal.Locks, error) {
	s.locked = keys
	return s.state.LockWithin(ctx, limit, ownPID(), keys...)
}

// tidy takes the error of letting something go after the work is done: it
// changes no result, but is not swallowed.
func (s *session) tidy(what string, err error) {
	if err != nil {
		s.log.Warn("closing a device failed", "what", what, "error", err)
	}
}

// newID is 128 random bits in hex: set and base ids in uuids.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

func ownPID() int { return os.Getpid() }

func (s *session) unlock(l *journal.Locks) { s.tidy("locks", l.Unlock()) }
