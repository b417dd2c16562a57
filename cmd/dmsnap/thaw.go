package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type thawCmd struct {
	Invalidate []string `placeholder:"NAME" sep:"none" help:"Instead, give up the images of set NAME, whose store hangs, so that writers no longer wait for it."`
	All        bool     `help:"Also end freezes and suspends made by other programs on these devices, and those of dmsnap operations in progress."`
}

func (thawCmd) Help() string {
	return `Emergency: makes blocked writers run again and does nothing else. Suspended devices of dmsnap are resumed with the table ` +
		`they have, then filesystems that an interrupted dmsnap froze are thawed. Needs neither locks nor the state directory. ` +
		`Run dmsnap recover afterwards: it cleans up after the interrupted operation. ` +
		`--invalidate is for a store that hangs: it gets no further I/O, and writers continue as soon as its driver has ended the I/O in flight. ` +
		`The set, and older sets that read through it, are lost; remove them.`
}

func (thawCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap thaw", "dmsnap thaw --all --json", "dmsnap thaw --invalidate nightly"},
		exits:    []int{0, 1, 2, 3, 4, 5, 7, 11},
	}
}

func (c *thawCmd) Run(ctx context.Context, env *Env) error {
	t, err := c.do(ctx, env)
	if t == nil {
		return err
	}
	if werr := emit(env, "thaws", []dm.Thawed{*t}, func(w io.Writer) { writeThawed(w, t) }); werr != nil && err == nil {
		return changed("thaw", "", werr)
	}
	if err != nil {
		return afterResult{err}
	}
	return nil
}

func (c *thawCmd) do(ctx context.Context, env *Env) (*dm.Thawed, error) {
	if len(c.Invalidate) == 0 {
		return env.Manager.Thaw(ctx, c.All)
	}
	t := &dm.Thawed{Resumed: []string{}, Thawed: []string{}, Left: []dm.Left{}}
	for _, name := range c.Invalidate {
		if err := env.Manager.Invalidate(ctx, name); err != nil {
			if len(t.Invalidated) == 0 {
				return nil, err
			}
			return t, err
		}
		t.Invalidated = append(t.Invalidated, name)
	}
	return t, nil
}

func writeThawed(w io.Writer, t *dm.Thawed) {
	for _, name := range t.Resumed {
		fmt.Fprintf(w, "resumed: %s\n", clean(name))
	}
	for _, path := range t.Thawed {
		fmt.Fprintf(w, "thawed: %s\n", clean(path))
	}
	for _, l := range t.Left {
		fmt.Fprintf(w, "not touched: %s: %s\n", clean(l.Device), clean(l.Reason))
	}
	writeExpedited(w, t.Expedited)
	for _, name := range t.Invalidated {
		fmt.Fprintf(w, "given up: %s\n", clean(name))
	}
	if len(t.Resumed)+len(t.Thawed)+len(t.Left)+len(t.Invalidated) == 0 {
		fmt.Fprintln(w, "nothing to thaw or resume")
	}
}

// writeExpedited tells what the switch that a dead window left on was put back to.
func writeExpedited(w io.Writer, restored string) {
	if restored != "" {
		fmt.Fprintf(w, "restored: /sys/kernel/rcu_expedited to %s\n", clean(restored))
	}
}
