package main

import (
	"context"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type bookmarkCmd struct {
	Name   string `arg:"" help:"Name of the set."`
	DryRun bool   `help:"Print the steps and change nothing."`
}

func (bookmarkCmd) Help() string {
	return `Drops the images of a set and the old data in its stores, and keeps the list of changed chunks, which goes on growing: ` +
		`dmsnap changed tells what differs since then in a set taken later. The stores cannot overflow any more. ` +
		`The set must be persistent, read-only and unused, and no older set may read through it. ` +
		`A bookmark cannot be mounted or read. dmsnap remove removes it. It does nothing to a set that is a bookmark already.`
}

func (bookmarkCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap bookmark monday",
			"dmsnap changed tuesday --since monday",
		},
		exits: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11},
	}
}

func (c *bookmarkCmd) Run(ctx context.Context, env *Env) error {
	r := dm.BookmarkRequest{Name: c.Name}
	if c.DryRun {
		p, err := env.Manager.PlanBookmark(ctx, r)
		if err != nil {
			return err
		}
		return emitPlans(env, []dm.Plan{*p})
	}
	s, err := env.Manager.Bookmark(ctx, r)
	if err != nil {
		return err
	}
	return changed("bookmark", s.Name, emit(env, "sets", []dm.Set{*s}, func(w io.Writer) { env.writeSet(w, s) }))
}
