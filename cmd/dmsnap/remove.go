package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

type removeCmd struct {
	Names   []string `arg:"" optional:"" name:"name" sep:"none" help:"Names of the sets."`
	filter  `embed:""`
	All     bool    `help:"All sets, but for those on hold and bookmarks."`
	Flatten bool    `aliases:"fold" help:"Flatten: copy what older sets read from this one into their stores, so that its store can be freed too."`
	Rate    dm.Size `placeholder:"SIZE" help:"Limit the copying to SIZE per second; only with --flatten."`
	DryRun  bool    `help:"Print the steps and change nothing."`

	chosen bool // Names come from the filter
}

func (removeCmd) Help() string {
	return `Nothing is removed unless all named sets exist. They are removed in the order given, up to the first failure. ` +
		`A set in use is never removed by force. ` +
		`If older sets read through this one, its store stays as layer-UUID until they are removed. --flatten copies the data to them instead; ` +
		`this takes time, may be interrupted, and continues with dmsnap remove --flatten layer-UUID. ` +
		`In place of names, --label, --older-than and --all choose the sets, oldest first; those on hold and bookmarks stay, and the names of the removed ones are printed.`
}

func (removeCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap remove nightly",
			"dmsnap remove monday tuesday --json",
			"dmsnap remove nightly --dry-run",
			"dmsnap remove --label job=7 --older-than 2w",
			"dmsnap remove nightly --flatten --rate 20m",
		},
		exits: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11},
	}
}

// removal is one item of the result.
type removal struct {
	Name string `json:"name"`
}

func (c *removeCmd) Run(ctx context.Context, env *Env) error {
	if c.Rate.Percent > 0 || !c.Rate.IsZero() && !c.Flatten {
		return removeUsage("--rate needs --flatten and a size")
	}
	if err := c.check(); err != nil {
		return removeUsage(err.Error())
	}
	if chosen := c.All || !c.none(); chosen == (len(c.Names) > 0) {
		return removeUsage("name the sets, or choose them with --label, --older-than or --all")
	} else if chosen {
		if err := c.chooseNames(ctx, env); err != nil {
			return err
		}
	}
	for i, name := range c.Names {
		if slices.Contains(c.Names[:i], name) {
			return &dm.Error{Op: "remove", Set: name, Code: dm.CodeUsage, Err: errors.New("the set is named twice"), Hint: "name each set once"}
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
		if err := env.Manager.Remove(ctx, c.request(name)); err != nil {
			return c.partial(i, err)
		}
		removed = append(removed, removal{name})
	}
	return changed("remove", "", emit(env, "removals", removed, func(w io.Writer) {
		for i := 0; c.chosen && i < len(removed); i++ {
			fmt.Fprintf(w, "removed %s\n", clean(removed[i].Name))
		}
	}))
}

func removeUsage(text string) error {
	return &dm.Error{Op: "remove", Code: dm.CodeUsage, Err: errors.New(text), Hint: "see dmsnap remove --help"}
}

// chooseNames goes from old to new: a set that others read through would only become a
// layer.
func (c *removeCmd) chooseNames(ctx context.Context, env *Env) error {
	all, err := env.Manager.List(ctx)
	if err != nil {
		return err
	}
	sets := c.choose(all, env.Now)
	slices.SortStableFunc(sets, func(a, b dm.Set) int { return byTime(a.Created, b.Created) })
	for _, s := range sets {
		if held := s.Lease != nil && s.Lease.Held; !held && !s.Layer && !s.Bookmark {
			c.Names = append(c.Names, cmp.Or(s.Name, s.UUID))
		}
	}
	c.chosen = true
	return nil
}

func (c *removeCmd) request(name string) dm.RemoveRequest {
	return dm.RemoveRequest{Name: name, Flatten: c.Flatten, Rate: dm.Rate(c.Rate.Bytes)}
}

func (c *removeCmd) plan(ctx context.Context, env *Env) error {
	var plans []dm.Plan
	for _, name := range c.Names {
		p, err := env.Manager.PlanRemove(ctx, c.request(name))
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
func (c *removeCmd) partial(failed int, err error) error {
	removed, rest := c.Names[:failed], c.Names[failed:]
	if len(removed) == 0 {
		return err
	}
	e := &dm.Error{Op: "remove", Set: rest[0], Code: dm.CodePartial, Err: err}
	if inner, ok := errors.AsType[*dm.Error](err); ok {
		e.Step, e.Device, e.Hint, e.Err = inner.Step, inner.Device, dm.FailureOf(err).Hint, inner.Err
		switch inner.Code {
		case dm.CodeUnrecovered:
			e.Code = inner.Code
		case dm.CodePartial: // to be repeated, but without those removed
			if c.Flatten {
				break // the set is gone, and what is left of it has another name
			}
			e.Hint = "run dmsnap remove " + strings.Join(rest, " ")
		}
	}
	e.Err = fmt.Errorf("%w (removed before: %s)", e.Err, strings.Join(removed, ", "))
	return e
}
