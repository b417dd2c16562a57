package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type pruneCmd struct {
	Profiles []string `arg:"" name:"profile" optional:"" sep:"none" help:"Names of profiles whose keep rules are applied."`
	Keep     string   `placeholder:"RULES" help:"Rules for the sets with the given labels instead, such as 'hourly:24 daily:7 weekly:4'; also last, monthly and yearly."`
	Label    []string `sep:"none" placeholder:"KEY=VALUE" help:"Label of these sets; may be repeated. Only with --keep."`
	DryRun   bool     `help:"Print what stays and what goes, and change nothing."`
}

func (pruneCmd) Help() string {
	return `Removes the sets of a profile that none of its keep rules keeps, and prints of each why it stays or goes. ` +
		`A rule such as daily:7 keeps the newest set of each of the last 7 days that have one. ` +
		`Sets that are on hold, mounted or leased stay, and so does the newest. dmsnap run does the same after a good run.`
}

func (pruneCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap prune home --dry-run",
			"dmsnap prune --label job=7 --keep daily:7",
		},
		exits: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11},
	}
}

func (c *pruneCmd) Run(ctx context.Context, env *Env) error {
	requests, err := c.requests(env)
	if err != nil {
		return err
	}
	pruned := []dm.Pruned{}
	var errs []error
	for _, r := range requests {
		some, err := env.Manager.Prune(ctx, r)
		pruned, errs = append(pruned, some...), append(errs, err)
	}
	err = errors.Join(errs...)
	if err != nil && len(pruned) == 0 {
		return err
	}
	if werr := emit(env, "prunings", pruned, func(w io.Writer) { writePruned(w, pruned) }); werr != nil {
		return changed("prune", "", werr)
	}
	if err != nil {
		return afterResult{err}
	}
	return nil
}

func (c *pruneCmd) requests(env *Env) (requests []dm.PruneRequest, err error) {
	usage := func(text string) error {
		return &dm.Error{Op: "prune", Code: dm.CodeUsage, Err: errors.New(text), Hint: "see dmsnap prune --help"}
	}
	if c.Keep == "" {
		if len(c.Profiles) == 0 || len(c.Label) > 0 {
			return nil, usage("name a profile, or give --keep and --label")
		}
		for _, name := range c.Profiles {
			p, err := readProfile(env, name)
			if err != nil {
				return nil, err
			}
			if p.Keep.IsZero() {
				return nil, usage("the profile " + name + " has no keep rules")
			}
			requests = append(requests, p.pruning(c.DryRun))
		}
		return requests, nil
	}
	r := dm.PruneRequest{DryRun: c.DryRun}
	if len(c.Profiles) > 0 || len(c.Label) == 0 {
		return nil, usage("--keep needs a --label that says which sets are meant, and no profile")
	}
	if r.Labels, err = parseLabels(c.Label); err == nil {
		r.Keep, err = dm.ParseKeepRules(c.Keep)
	}
	if err != nil {
		return nil, usage(err.Error())
	}
	return []dm.PruneRequest{r}, nil
}

// pruning is what the rules of a profile ask for.
func (p *profile) pruning(dryRun bool) dm.PruneRequest {
	return dm.PruneRequest{Labels: map[string]string{profileLabel: p.Name}, Keep: p.Keep, DryRun: dryRun}
}

func writePruned(w io.Writer, pruned []dm.Pruned) {
	for _, p := range pruned {
		what := "stays"
		switch {
		case p.Removed:
			what = "removed"
		case !p.Keep:
			what = "goes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", clean(p.Set), timeText(&p.Created), what, clean(p.Why))
	}
}
