package main

import (
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

// emitPlans prints what a dry run would have done.
func emitPlans(env *Env, plans []dm.Plan) error {
	return emit(env, "plans", plans, func(w io.Writer) {
		for i := range plans {
			writePlan(w, &plans[i])
		}
	})
}

func writePlan(w io.Writer, p *dm.Plan) {
	fmt.Fprintf(w, "%s %s\n", p.Op, clean(p.Set))
	for i, s := range p.Steps {
		fmt.Fprintf(w, "%3d. %-7s  %s %s", i+1, s.Phase, s.Action, clean(s.Device))
		if s.Detail != "" {
			fmt.Fprintf(w, " (%s)", clean(s.Detail))
		}
		fmt.Fprintln(w)
		for _, line := range s.Table {
			fmt.Fprintf(w, "       table: %s\n", clean(line))
		}
		if s.Undo != "" {
			fmt.Fprintf(w, "       undo: %s\n", clean(s.Undo))
		}
	}
}
