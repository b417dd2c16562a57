package store

import (
	"fmt"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
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
	Read   *stack.Reader
	Ours   *stack.View
	Mounts *freeze.Table
	// Origins are all origins of the set.
	Origins []plan.Origin
	// File is the name for a file that the user gave a directory for, or nothing.
	File string
	// Need is the size the store should have, and Least what is worth making.
	Need, Least targets.Sectors
	// Policy is the administrator's.
	Policy Policy
	// Force takes devices that carry a signature.
	Force bool
}

// Policy is what the administrator wants of stores that dmsnap chooses and makes.
type Policy struct {
	// Stores are tried in this order before any that dmsnap finds itself.
	Stores []string
	// Reserve is what files leave free of a filesystem of that many bytes. Nil: a
	// twentieth, at most 1 GiB.
	Reserve func(filesystem uint64) uint64
}

// InUseError is a store that is in use.
type InUseError struct {
	Path string
	Dev  targets.DevNo
}

func (e *InUseError) Error() string { return "store " + e.Path + " is in use" }

// Parse reads a store spec: auto or nothing, file:PATH, ram or ram:LIMIT, or the
// absolute path of a block device.
func Parse(spec string) (Kind, error) {
	kind, rest, more := strings.Cut(spec, ":")
	switch {
	case spec == "" || spec == "auto":
		return auto{}, nil
	case kind == "file" && strings.HasPrefix(rest, "/"):
		return file{path: rest}, nil
	case kind == "ram" && !more:
		return ram{}, nil
	case kind == "ram":
		return parseRAM(rest)
	case strings.HasPrefix(spec, "/"):
		return device{spec}, nil
	}
	return nil, &plan.Refusal{
		Kind: plan.Usage, Device: spec, Why: fmt.Sprintf("store %q is neither a device path nor a known kind", spec),
		Hint: "name an unused block device by its absolute path, file:PATH, ram or auto",
	}
}
