package dm

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Code classifies an error for programs: it is the "code" of a JSON error and
// decides the exit status of the command line. Codes are never renamed.
type Code string

// The codes, in the order of their exit status; exists has that of usage.
const (
	CodeFailed       Code = "failed"          // nothing changed
	CodeUsage        Code = "usage"           // invalid request
	CodeLocked       Code = "locked"          // another dmsnap is using the origin
	CodeNotFound     Code = "not_found"       // no such set, origin or device
	CodeBusy         Code = "busy"            // a device is in use
	CodeNoSpace      Code = "no_space"        // store too small, or the image is lost
	CodeUnsupported  Code = "unsupported"     // not possible on this host
	CodeFreeze       Code = "freeze_failed"   // freeze or hook failed; no snapshot was taken
	CodeDegraded     Code = "degraded"        // snapshot taken, but less consistent than requested
	CodePartial      Code = "partial"         // partly done
	CodeUnrecovered  Code = "recovery_needed" // an undo failed: dmsnap recover
	CodeFullRequired Code = "full_required"   // what changed is not recorded: copy all
	CodeExists       Code = "exists"          // a set of that name already exists
)

// Sentinels for errors.Is, one for each code.
var (
	ErrFailed       = errors.New("failed")
	ErrUsage        = errors.New("invalid request")
	ErrLocked       = errors.New("locked by another dmsnap")
	ErrNotFound     = errors.New("not found")
	ErrBusy         = errors.New("busy")
	ErrNoSpace      = errors.New("no space")
	ErrUnsupported  = errors.New("not possible on this host")
	ErrFreeze       = errors.New("freeze failed")
	ErrDegraded     = errors.New("less consistent than requested")
	ErrPartial      = errors.New("partly done")
	ErrUnrecovered  = errors.New("recovery needed")
	ErrFullRequired = errors.New("full copy required")
	ErrExists       = errors.New("already exists")
)

func (c Code) sentinel() error {
	switch c {
	case CodeUsage:
		return ErrUsage
	case CodeLocked:
		return ErrLocked
	case CodeNotFound:
		return ErrNotFound
	case CodeBusy:
		return ErrBusy
	case CodeNoSpace:
		return ErrNoSpace
	case CodeUnsupported:
		return ErrUnsupported
	case CodeFreeze:
		return ErrFreeze
	case CodeDegraded:
		return ErrDegraded
	case CodePartial:
		return ErrPartial
	case CodeUnrecovered:
		return ErrUnrecovered
	case CodeFullRequired:
		return ErrFullRequired
	case CodeExists:
		return ErrExists
	default:
		return ErrFailed
	}
}

// Error is what every method of Manager returns. Its text is one line without
// the hint. errors.Is answers for the sentinel of its Code and for everything
// in Err, down to the unix.Errno of the call that failed.
type Error struct {
	Op     string // the operation: "create", "remove", ...
	Set    string // set name, if known
	Device string // device or path the failing step worked on, if any
	Step   string // the step that failed, as the plan names it
	Code   Code
	Err    error
	Hint   string // what can be done, in terms of this package, or ""

	command string // the hint in those of the command line
}

func (e *Error) Error() string {
	text := e.Op
	if e.Set != "" {
		text += " " + e.Set
	}
	if e.Err == nil { // callers make such errors for their tests
		return text + ": " + e.Code.sentinel().Error()
	}
	// Joined causes stand on lines of their own; people get one line.
	return text + ": " + strings.ReplaceAll(e.Err.Error(), "\n", "; ")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the sentinel of the error's code.
func (e *Error) Is(target error) bool { return target == e.Code.sentinel() }

// CodeOf returns the code of the first Error in err's tree, or else of the first
// sentinel in it; CodeFailed if there is neither.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok && e.Code != "" {
		return e.Code
	}
	for _, c := range codes {
		if errors.Is(err, c.sentinel()) {
			return c
		}
	}
	return CodeFailed
}

var codes = [...]Code{
	CodeUsage, CodeLocked, CodeNotFound, CodeBusy, CodeNoSpace, CodeUnsupported,
	CodeFreeze, CodeDegraded, CodePartial, CodeUnrecovered, CodeFullRequired, CodeExists,
}

// Holder is what keeps a device busy.
type Holder struct {
	Kind      HolderKind `json:"kind"`
	Device    string     `json:"device"`
	PID       int        `json:"pid,omitempty"`
	Command   string     `json:"command,omitempty"`
	Path      string     `json:"path,omitempty"`      // mount point or name of the holding device
	Namespace string     `json:"namespace,omitempty"` // mount namespace, if it is not ours
}

func (h Holder) String() string {
	switch h.Kind {
	case HolderMount:
		if h.Namespace != "" {
			return fmt.Sprintf("mounted on %s in mount namespace %s (pid %d, %s)", h.Path, h.Namespace, h.PID, h.Command)
		}
		return "mounted on " + h.Path
	case HolderProcess:
		return fmt.Sprintf("open in pid %d (%s)", h.PID, h.Command)
	default:
		return "in use by device " + h.Path
	}
}

// BusyError names the holders of a busy device. It is found with errors.As
// inside an Error of CodeBusy.
type BusyError struct {
	Device  string
	Holders []Holder // empty if none could be found
}

func (e *BusyError) Error() string {
	if len(e.Holders) == 0 {
		return e.Device + " is busy"
	}
	parts := make([]string, len(e.Holders))
	for i, h := range e.Holders {
		parts[i] = h.String()
	}
	return fmt.Sprintf("%s is %s", e.Device, strings.Join(parts, ", "))
}

// Unwrap returns EBUSY, whether holders are known or not.
func (e *BusyError) Unwrap() error { return unix.EBUSY }

var errUnfreezable = errors.New("cannot be frozen")
