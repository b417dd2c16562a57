package run

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Runner has what steps need. One Runner carries out one plan.
type Runner struct {
	Kernel  *ioctl.Kernel
	Control *ioctl.Control
	// Create makes an empty device.
	Create func(name, uuid string) error
	// Freezers hold the descriptors of filesystems, by Filesystem.Key, opened and
	// checked before the window.
	Freezers map[int]Freezer
	Log      *slog.Logger
	// Stalls warns when a step outside the window takes long; may be nil.
	Stalls *StallWarner
	// Deadline bounds the window.
	Deadline time.Duration
	// BusyTimeout bounds the retries of a removal, and the wait for lvm2; UdevTimeout the wait for udev.
	BusyTimeout, UdevTimeout time.Duration
	// StartGuard starts the process that ends the window if we cannot. Nil: nothing
	// does.
	StartGuard func() (Guard, error)
	// LastLook compares what the plan rests on with what is there, when the window is
	// ready; an error takes everything back. May be nil.
	LastLook func() error
	// Hook calls a program with an event; for plans with hooks.
	Hook func(ctx context.Context, program, event string) error
	// Fail is a failpoint: it may fail any step before it runs. Nil in production.
	Fail func(step plan.Step) error
	// Observe is called for every step outside the window, before it is made, with
	// how many of the plan's are done; and of the window before it opens. Nil:
	// nothing is called.
	Observe func(phase plan.Phase, step plan.Step, done, total int)
	// Rate bounds what a flattening copies in a second, in bytes; 0: nothing does. Copied
	// is told how far it is, in bytes; may be nil.
	Rate   uint64
	Copied func(done, total uint64)
	// Cookie counts the udev events of the run; nil: the run makes its own. Run
	// removes it in any case.
	Cookie *ioctl.Cookie
	// Renew makes another one for what is taken back when the first one is used up;
	// nil, or where it fails: the run makes its own.
	Renew func() (*ioctl.Cookie, error)

	failing sync.Mutex // steps may run together, failpoints need not know
	execution
}

// execution is the state of one run.
type execution struct {
	plan    *plan.Plan
	done    int // steps of the plan
	total   int
	undo    []plan.Step
	guard   Guard
	stuck   bool // some writers are still blocked
	cookie  *ioctl.Cookie
	devices map[string]targets.DevNo // made or looked up by this run
	made    map[string]node          // devices that must have a node at the end
	gone    map[string]bool          // devices that must not
	files   map[string]*ioctl.File   // of stores behind loop devices, until the run ends
	linked  map[string]bool          // files this run tried to make: whether they got their name
	tables  map[string]targets.Table // loaded into stores that are made of files
	loaded  map[string]targets.Table // what each device was given
	claims  map[string]*ioctl.File   // images that cannot be mounted meanwhile
	groups  map[string]*lvmlock.Lock // of LVM
	unwiped map[string]uint64        // files of stores: bytes to be zeroed through their filesystem
	slots   map[string]*slots        // of fronts, as they were when the window was prepared
	saved   map[string]kept          // of devices that became stores
}

func newExecution(p *plan.Plan) execution {
	return execution{
		plan: p, total: len(p.Steps),
		devices: map[string]targets.DevNo{}, made: map[string]node{}, gone: map[string]bool{},
		files: map[string]*ioctl.File{}, linked: map[string]bool{}, tables: map[string]targets.Table{},
		loaded: map[string]targets.Table{}, claims: map[string]*ioctl.File{}, unwiped: map[string]uint64{},
		slots: map[string]*slots{}, saved: map[string]kept{}, groups: map[string]*lvmlock.Lock{},
	}
}

// Freezer holds one filesystem; *freeze.Handle is one. Freeze, Prove and Thaw
// make calls encoded beforehand and allocate nothing when they succeed. Thaw
// without a freeze of ours does nothing.
type Freezer interface {
	SyncFS() error
	Freeze() error
	Prove() error
	Thaw() error
}

// Guard is the owner's side of a guard process; see guard.Guard.
type Guard interface {
	// Prepare tells it what to resume and to thaw, and returns when it is ready: fronts in
	// the order of their suspends, filesystems by key in the order of their freezes.
	Prepare(fronts []guard.Front, keys []int) error
	// Open comes right before the first call of the window, Close right after the
	// last one, Stop some time later. Abandon in place of both leaves it to the
	// guard to end what could not be undone.
	Open() error
	Close() error
	Stop() error
	Abandon() error
	// Kind tells who made its process; see guard.Guard.
	Kind() string
	// Lost tells that the guard ended the window. Freezing and Froze tell it about
	// the filesystem with that place in the order of freezes.
	Lost() bool
	Freezing(i int)
	Froze(i int, frozen bool)
}
