package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

type removeCmd struct {
	Names  []string `arg:"" name:"name" sep:"none" help:"Names of the sets."`
	DryRun bool     `help:"Print the steps and change nothing."`
}

func (removeCmd) Help() string {
	return `Nothing is removed unless all sets exist. They are removed in the order given, up to the first that fails. ` +
		`A set in use is never removed by force.`
}

func (removeCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap remove nightly",
			"dmsnap remove monday tuesday --json",
			"dmsnap remove nightly --dry-run",
		},
		exits: []int{0, 1, 2, 3, 4, 5, 7, 8, 10, 11},
	}
}

// removal is one item of the result.
type removal struct {
	Name string `json:"name"`
}

func (c *removeCmd) Run(ctx context.Context, env *Env) error {
	for i, name := range c.Names {
		if slices.Contains(c.Names[:i], name) {
			return &dm.Error{Op: "remove", Set: name, Code: dm.CodeUsage, Err: errors.New("named twice"), Hint: "name each set once"}
		}
		if _, err := env.Manager.Show(ctx, name); err != nil {
			if e, ok := errors.AsType[*dm.Error](err); ok {
				e.Op = "remove"
			}
			return err
		}
	}
	if c.DryRun {
		return c.plan(ctx, env)
	}
	var removed []removal
	for i, name := range c.Names {
		if err := env.Manager.Remove(ctx, name); err != nil {
			return partial(c.Names[:i], c.Names[i:], err)
		}
		removed = append(removed, removal{name})
	}
	return changed("remove", "", emit(env, "removals", removed, func(io.Writer) {}))
}

func (c *removeCmd) plan(ctx context.Context, env *Env) error {
	var plans []dm.Plan
	for _, name := range c.Names {
		p, err := env.Manager.PlanRemove(ctx, name)
		if err != nil {
			return err
		}
		plans = append(plans, *p)
	}
	return emitPlans(env, plans)
}

// partial turns a failure after others succeeded into CodePartial. A failure
// that needs recovery keeps its code: it asks for more. The first of rest is the
// set that failed.
func partial(removed, rest []string, err error) error {
	if len(removed) == 0 {
		return err
	}
	e := &dm.Error{Op: "remove", Set: rest[0], Code: dm.CodePartial, Err: err}
	if inner, ok := errors.AsType[*dm.Error](err); ok {
		e.Step, e.Device, e.Hint, e.Err = inner.Step, inner.Device, inner.Hint, inner.Err
		switch inner.Code {
		case dm.CodeUnrecovered:
			e.Code = inner.Code
		case dm.CodePartial: // to be repeated, but without those removed
			e.Hint = "run dmsnap remove " + strings.Join(rest, " ")
		}
	}
	e.Err = fmt.Errorf("%w (removed before: %s)", e.Err, strings.Join(removed, ", "))
	return e
}
