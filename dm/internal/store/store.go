// Package store knows the kinds of exception stores: what a user may name, and
// whether it can serve.
package store

import (
	"fmt"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// Kind is one kind of store. What Inspect returns says all that plan needs to
// make, map and remove it.
type Kind interface {
	// Inspect looks up what there is for one origin, without changing it, and
	// refuses what cannot serve.
	Inspect(h *Host, origin plan.Origin) (plan.Store, error)
}

// Host is what kinds look at.
type Host struct {
	Read *stack.Reader
	Ours []stack.Device
	// Origins are all origins of the set.
	Origins []plan.Origin
}

// InUseError is a store that somebody holds.
type InUseError struct {
	Path string
	Dev  targets.DevNo
}

func (e *InUseError) Error() string { return "store " + e.Path + " is in use" }

// Parse reads a store spec: a block device. The other kinds are known by name
// and refused.
func Parse(spec string) (Kind, error) {
	kind, _, _ := strings.Cut(spec, ":")
	switch {
	case spec == "" || spec == "auto":
		return nil, &plan.Refusal{
			Kind: plan.Unsupported, Why: "no store was named, and this version does not choose one",
			Hint: "name an unused block device: --store /dev/...",
		}
	case kind == "file" || kind == "ram":
		return nil, &plan.Refusal{
			Kind: plan.Unsupported, Device: spec, Why: "stores of kind " + kind + " are not supported by this version",
			Hint: "name an unused block device: --store /dev/...",
		}
	case !strings.HasPrefix(spec, "/"):
		return nil, &plan.Refusal{
			Kind: plan.Usage, Device: spec, Why: fmt.Sprintf("store %q is neither a device path nor a known kind", spec),
			Hint: "name an unused block device by its absolute path",
		}
	}
	return device{spec}, nil
}
