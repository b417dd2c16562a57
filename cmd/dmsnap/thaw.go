package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type thawCmd struct {
	All bool `help:"Also end freezes and suspends made by other programs on these devices, and those of dmsnap operations in progress."`
}

func (thawCmd) Help() string {
	return `Emergency: makes blocked writers run again and does nothing else. Suspended devices of dmsnap are resumed with the table ` +
		`they have, then filesystems that an interrupted dmsnap froze are thawed. Needs neither locks nor the state directory. ` +
		`Run dmsnap recover afterwards: it removes what is left of the interrupted operation.`
}

func (thawCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap thaw", "dmsnap thaw --all --json"},
		exits:    []int{0, 1, 2, 3, 7, 11},
	}
}

func (c *thawCmd) Run(ctx context.Context, env *Env) error {
	t, err := env.Manager.Thaw(ctx, c.All)
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

func writeThawed(w io.Writer, t *dm.Thawed) {
	for _, name := range t.Resumed {
		fmt.Fprintf(w, "resumed: %s\n", clean(name))
	}
	for _, path := range t.Thawed {
		fmt.Fprintf(w, "thawed: %s\n", clean(path))
	}
	for _, l := range t.Left {
		fmt.Fprintf(w, "left alone: %s: %s\n", clean(l.Device), clean(l.Reason))
	}
	writeExpedited(w, t.Expedited)
	if len(t.Resumed)+len(t.Thawed)+len(t.Left) == 0 {
		fmt.Fprintln(w, "nothing is held")
	}
}

// writeExpedited tells what the switch that a dead window left on was put back to.
func writeExpedited(w io.Writer, restored string) {
	if restored != "" {
		fmt.Fprintf(w, "put back: /sys/kernel/rcu_expedited to %s\n", clean(restored))
	}
}
