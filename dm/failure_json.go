package dm

import (
	"errors"
	"strings"
)

// Failure is an error as data: the "error" that the command prints with --json.
type Failure struct {
	Code    Code     `json:"code"`
	Message string   `json:"message"` // on one line
	Device  string   `json:"device"`
	Hint    string   `json:"hint"`              // in terms of the command line; Error.Hint has those of Go
	Holders []Holder `json:"holders,omitempty"` // if a device is busy
	// Reason, Volume and Since are those of a list of changes that cannot be given.
	Reason FullReason `json:"reason,omitempty"`
	Volume string     `json:"volume,omitempty"`
	Since  string     `json:"since,omitempty"`
}

// FailureOf describes any error, also one that is not of this package.
func FailureOf(err error) Failure {
	f := Failure{Code: CodeOf(err), Message: strings.ReplaceAll(err.Error(), "\n", "; ")}
	if e, ok := errors.AsType[*Error](err); ok {
		f.Device, f.Hint = e.Device, e.commandHint()
	}
	if b, ok := errors.AsType[*BusyError](err); ok {
		f.Holders = b.Holders
	}
	if full, ok := errors.AsType[*FullRequired](err); ok {
		f.Reason, f.Volume, f.Since = full.Reason, full.Volume, full.Since
	}
	return f
}
