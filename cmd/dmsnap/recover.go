package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type recoverCmd struct{}

func (recoverCmd) Help() string {
	return `Lets go what an interrupted operation still holds frozen or suspended, then takes back an interrupted create and ` +
		`completes an interrupted remove. Sets that are whole are left alone, and so are those whose record is lost. ` +
		`Safe to run at any time, also at boot.`
}

func (recoverCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap recover", "dmsnap recover --json"},
		exits:    []int{0, 1, 2, 3, 5, 7, 8, 10, 11},
	}
}

func (recoverCmd) Run(ctx context.Context, env *Env) error {
	r, err := env.Manager.Recover(ctx)
	if err != nil {
		return err
	}
	return changed("recover", "", emit(env, "recoveries", []dm.Recovered{*r}, func(w io.Writer) { writeRecovered(w, r) }))
}

func writeRecovered(w io.Writer, r *dm.Recovered) {
	for _, s := range r.Sets {
		fmt.Fprintf(w, "taken down: %s\n", clean(s))
	}
	for _, f := range r.Left {
		fmt.Fprintf(w, "left: %s belongs to no set known here; if none uses it: chattr -ia and remove it\n", clean(f))
	}
	if len(r.Sets)+len(r.Left) == 0 {
		fmt.Fprintln(w, "nothing to recover")
	}
}
