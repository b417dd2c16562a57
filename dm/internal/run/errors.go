package run

import (
	"errors"
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

// StepError is a step that failed.
type StepError struct {
	Step plan.Step
	Err  error
}

// Error names the step, unless its cause does.
func (e *StepError) Error() string {
	cause := e.Err.Error()
	if _, named := errors.AsType[*ioctl.Error](e.Err); named {
		return cause
	}
	return e.Step.String() + ": " + cause
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// UndoError means that taking a failed operation back failed too: devices may
// be left over, or an origin may still carry our layer.
type UndoError struct {
	Cause error // why the operation failed
	Undo  error // what could not be taken back
}

func (e *UndoError) Error() string {
	return fmt.Sprintf("%v; undoing it failed: %v", e.Cause, e.Undo)
}

// Unwrap returns both errors.
func (e *UndoError) Unwrap() []error { return []error{e.Cause, e.Undo} }

// PartialError means that an operation passed its point of no return and could
// not do everything.
type PartialError struct{ Err error }

func (e *PartialError) Error() string { return e.Err.Error() }

// Unwrap returns the causes.
func (e *PartialError) Unwrap() error { return e.Err }

// Why a window was given up.
var (
	ErrDeadline  = errors.New("the window took longer than allowed")
	ErrReloaded  = errors.New("another program loaded a table")
	ErrBypassed  = errors.New("another program replaced the origin's table: the blocks below may belong to anything")
	ErrSuspended = errors.New("another program suspended it")
	ErrResumed   = errors.New("another program resumed it inside the window")
	ErrGuard     = errors.New("the guard ended the window: it took longer than allowed, or this process was stopped")
)
