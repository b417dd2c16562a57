package main

import (
	"context"
	"fmt"
	"io"
)

type unpinCmd struct{}

func (unpinCmd) Help() string {
	return `A store in a file on an origin's filesystem keeps that from being unmounted for as long as the set lives: what came to its ` +
		`device after that would be written over. This lets all such filesystems go and leaves the sets as they are. It is for a ` +
		`shutdown, before filesystems are unmounted: dmsnap-pin.service calls it. At any other time remove the set instead; ` +
		`dmsnap recover holds the filesystems again that are still mounted. Needs neither lock nor state directory.`
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
			fmt.Fprintln(w, "nothing is held")
		}
	})
	if err != nil {
		return afterResult{err}
	}
	return changed("unpin", "", werr)
}
