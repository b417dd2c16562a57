package main

import (
	"context"
	"fmt"
	"io"
)

type unpinCmd struct{}

func (unpinCmd) Help() string {
	return `While a set exists whose store is a file on an origin's filesystem, that filesystem cannot be unmounted: data written to its ` +
		`device afterwards would be overwritten. This unpins all such files, so that the filesystems can be unmounted, and keeps the sets. It is for a ` +
		`shutdown: dmsnap-pin.service runs it before filesystems are unmounted. At any other time remove the set instead; ` +
		`dmsnap recover pins the files on filesystems that are still mounted again. Needs neither locks nor the state directory.`
}

func (unpinCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap unpin", "dmsnap unpin --json"},
		exits:    []int{0, 1, 2},
	}
}

func (unpinCmd) Run(ctx context.Context, env *Env) error {
	done, err := env.Manager.Unpin(ctx)
	if done == nil {
		return err
	}
	werr := emit(env, "unpins", done, func(w io.Writer) {
		for _, u := range done {
			fmt.Fprintf(w, "the filesystem of %s can be unmounted\n", clean(u.File))
		}
		if len(done) == 0 {
			fmt.Fprintln(w, "nothing is pinned")
		}
	})
	if err != nil {
		return afterResult{err}
	}
	return changed("unpin", "", werr)
}
