package main

import (
	"context"
	"io"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

type extendCmd struct {
	Name   string   `arg:"" help:"Name of the set."`
	Size   growth   `arg:"" help:"New size of each store (20g, 30% of the origin), or how much to add (+5g)."`
	Volume []string `sep:"none" placeholder:"NAME" help:"Only this volume; repeatable."`
	Store  string   `placeholder:"SPEC" help:"An unused block device on which the store continues when its own is used up; its contents are lost."`
	DryRun bool     `help:"Print the steps and change nothing."`
}

func (extendCmd) Help() string {
	return `Nothing is frozen; writers that need a chunk copied wait for a moment while the kernel takes the new size. ` +
		`No store grows beyond what it can ever need, and none shrinks.`
}

func (extendCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap extend nightly +10%",
			"dmsnap extend nightly 20g --volume vg-home",
			"dmsnap extend nightly +8g --volume vg-home --store /dev/vdd",
		},
		exits: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11},
	}
}

// growth is a size, or with a plus sign a size more.
type growth struct {
	dm.Size
	more bool
}

// UnmarshalText reads it.
func (g *growth) UnmarshalText(text []byte) error {
	rest, more := strings.CutPrefix(string(text), "+")
	g.more = more
	return g.Size.UnmarshalText([]byte(rest))
}

func (c *extendCmd) Run(ctx context.Context, env *Env) error {
	r := dm.ExtendRequest{Name: c.Name, Size: c.Size.Size, Relative: c.Size.more, Volumes: c.Volume, Store: c.Store}
	if c.DryRun {
		p, err := env.Manager.PlanExtend(ctx, r)
		if err != nil {
			return err
		}
		return emitPlans(env, []dm.Plan{*p})
	}
	s, err := env.Manager.Extend(ctx, r)
	if err != nil {
		return err
	}
	return changed("extend", s.Name, emit(env, "sets", []dm.Set{*s}, func(w io.Writer) { env.writeSet(w, s) }))
}
