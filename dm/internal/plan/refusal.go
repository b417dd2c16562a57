package plan

import "fmt"

// Kind classifies a refusal; dm maps it to its error codes.
type Kind string

// The kinds.
const (
	Usage       Kind = "usage"
	Unsupported Kind = "unsupported"
	Busy        Kind = "busy"
	NoSpace     Kind = "no_space"
	NotFound    Kind = "not_found"
	Exists      Kind = "exists"
)

// Refusal is a request that cannot be planned. Nothing was changed.
type Refusal struct {
	Kind   Kind
	Device string
	Why    string
	Hint   string
}

func (r *Refusal) Error() string { return r.Why }

// Refuse makes a Refusal; hint may be empty.
func Refuse(k Kind, device, hint, format string, args ...any) *Refusal {
	return &Refusal{Kind: k, Device: device, Why: fmt.Sprintf(format, args...), Hint: hint}
}
