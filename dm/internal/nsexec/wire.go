package nsexec

import (
	"errors"
	"time"
)

// wireVersion keeps a supervisor of another version from guessing.
const wireVersion = 1

// Program is what a supervisor is told. It goes over the wire as a gob, since
// arguments and paths may be any bytes.
type Program struct {
	Version   int
	Images    []Image
	Over      bool   // lay the images over the original paths; else each at its own At
	Only      bool   // leave other filesystems below those paths out
	Below     string // an empty directory is mounted here first, for images that are At paths below it
	Writable  []Hole
	Command   []string
	Env       []string
	Dir       string
	KillAfter time.Duration
}

// Image is one to be mounted.
type Image struct {
	Device, FSType, Options string
	Origin                  string // number of the device whose mounts it takes the place of
	At                      string // where it is mounted if it is laid over nothing; "" for not at all
}

// Hole is a directory that stays live and writable.
type Hole struct {
	Path  string
	Asked bool // for it to be missing is an error
}

// Report is what a supervisor answers once the command runs, or cannot.
type Report struct {
	Layout Layout
	PID    int
	// Err says why the command does not run, Status is then that of env(1): 126 or
	// 127 for a command that could not be run, 125 for all else.
	Err    string
	Status int
}

// Exit is how the command ended.
type Exit struct {
	Status int // 128 and the signal, if it was killed
	Signal int
}

// order is what an owner says later.
type order struct {
	Signal int  // to be forwarded
	Kill   bool // the command is to end within Program.KillAfter
}

// Statuses of a command that did not run, as those of env(1).
const (
	StatusFailed        = 125
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// ErrSupervisor: the supervisor has ended before its command.
var ErrSupervisor = errors.New("the supervisor of the command has ended")

// StartError is why the command does not run.
type StartError struct {
	Status int
	Text   string
}

func (e *StartError) Error() string { return e.Text }
