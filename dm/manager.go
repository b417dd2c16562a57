// Package dm takes point-in-time snapshots of live block devices by swapping
// snapshot-origin and snapshot tables in beneath their writers with the
// kernel's device-mapper. It is the library behind the dmsnap command.
//
// A Manager may be used by many goroutines and beside other processes: origins
// are locked one by one while an operation changes them.
package dm

import (
	"context"
	"log/slog"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
)

// DefaultStateDir keeps what the kernel cannot: set names, labels, receipts and
// the journal.
const DefaultStateDir = "/var/lib/dmsnap"

// Options configure a Manager; the zero value works.
type Options struct {
	// Kernel is the border to use; nil means the host's.
	Kernel *ioctl.Kernel
	// StateDir is made with mode 0700 when missing. Empty: DefaultStateDir.
	StateDir string
	// Logger receives what happens outside the window; nil discards it.
	Logger *slog.Logger
	// UdevTimeout bounds the waits for udev. Zero: 30 s.
	UdevTimeout time.Duration
	// BusyTimeout bounds the retries on a device that is busy, as udev often
	// opens new ones for a moment. Zero: 5 s.
	BusyTimeout time.Duration
}

// Manager carries out operations on sets.
type Manager struct {
	opts Options
}

// New makes a Manager. It opens nothing yet.
func New(o Options) *Manager { return &Manager{opts: o} }

// Create cuts a set. It blocks until the images are usable. Cancelling ctx
// before the window undoes everything; inside the window it is not looked at.
func (m *Manager) Create(ctx context.Context, r CreateRequest) (*Set, error) {
	return nil, ErrUnsupported
}

// PlanCreate returns the steps Create would take, and changes nothing.
func (m *Manager) PlanCreate(ctx context.Context, r CreateRequest) (*Plan, error) {
	return nil, ErrUnsupported
}

// PlanRemove returns the steps Remove would take, and changes nothing.
func (m *Manager) PlanRemove(ctx context.Context, name string) (*Plan, error) {
	return nil, ErrUnsupported
}

// Remove takes a set down and gives its origins their own tables back.
func (m *Manager) Remove(ctx context.Context, name string) error { return ErrUnsupported }

// List returns all sets, by name, with or without a record in the state
// directory. It takes no lock.
func (m *Manager) List(ctx context.Context) ([]Set, error) { return nil, ErrUnsupported }

// Show returns one set.
func (m *Manager) Show(ctx context.Context, name string) (*Set, error) { return nil, ErrUnsupported }

// Mount mounts the images of a set read-only below dir: one volume on dir
// itself, several at their own mount points below it.
func (m *Manager) Mount(ctx context.Context, name, dir string) ([]Mounted, error) {
	return nil, ErrUnsupported
}

// Unmount undoes Mount.
func (m *Manager) Unmount(ctx context.Context, name string) error { return ErrUnsupported }

// Recover ends what was interrupted and removes leftovers.
func (m *Manager) Recover(ctx context.Context) (*Recovered, error) { return nil, ErrUnsupported }

// Doctor tells what works here, and for each origin what a cut would do.
func (m *Manager) Doctor(ctx context.Context, origins ...string) (*Report, error) {
	return nil, ErrUnsupported
}

// Recovered is what Recover did.
type Recovered struct {
	Sets []string `json:"sets"` // names or uuids of sets it took down
}

// Plan is the ordered list of steps of one operation.
type Plan struct {
	Op    string     `json:"op"`
	Set   string     `json:"set"`
	Steps []PlanStep `json:"steps"`
}

// PlanStep is one step, for people and programs.
type PlanStep struct {
	Phase  string   `json:"phase"` // "prepare", "window", "finish"
	Action string   `json:"action"`
	Device string   `json:"device"`
	Table  []string `json:"table,omitempty"`  // exact table lines; crypt keys are masked
	Detail string   `json:"detail,omitempty"` // e.g. the mount point's filesystem, flags
	Undo   string   `json:"undo,omitempty"`   // what takes it back
}

// Report is what Doctor found.
type Report struct {
	Kernel     string         `json:"kernel"`
	DM         string         `json:"dm"`
	Targets    []TargetReport `json:"targets"`
	Udev       bool           `json:"udev"`
	Privileged bool           `json:"privileged"`
	Problems   []Problem      `json:"problems"`
	Origins    []OriginReport `json:"origins"`
}

// TargetReport is one device-mapper target of interest.
type TargetReport struct {
	Name      string `json:"name"`
	Version   string `json:"version"` // "" when missing
	NeededFor string `json:"needed_for"`
}

// Problem is something that stands in the way, and what to do about it.
type Problem struct {
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// OriginReport says what a cut of one origin would do.
type OriginReport struct {
	Origin      string     `json:"origin"`
	Device      string     `json:"device"`
	Devno       string     `json:"devno"`
	Redirector  string     `json:"redirector"` // "dm", "none"
	Filesystems []FSReport `json:"filesystems"`
	Possible    bool       `json:"possible"`
	Problems    []Problem  `json:"problems"`
}

// FSReport is a filesystem on an origin and how it would be frozen.
type FSReport struct {
	Type        string   `json:"type"`
	Mountpoints []string `json:"mountpoints"`
	Method      string   `json:"method"` // "fifreeze", "lockfs", "none"
	Reason      string   `json:"reason"`
}
