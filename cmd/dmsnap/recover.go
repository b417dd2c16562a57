package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type recoverCmd struct{}

func (recoverCmd) Help() string {
	return `Cleans up after an interrupted dmsnap: thaws and resumes everything it still holds, then undoes an interrupted create and ` +
		`completes an interrupted remove. Complete sets are left alone, also those whose record is lost, and so are operations in progress. ` +
		`After a reboot it reports what the stores of persistent sets hold. Safe to run at any time, also at boot.`
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
		fmt.Fprintf(w, "cleaned up: %s\n", clean(s))
	}
	for _, f := range r.Left {
		fmt.Fprintf(w, "left over: %s is a store's file without a known set; if it is not needed: dmsnap unpin, chattr -ia, then delete it\n", clean(f))
	}
	for _, e := range r.Ended {
		fmt.Fprintf(w, "lost at a reboot: volume %s of set %s, %s; dmsnap remove %s deletes it\n", clean(e.Volume), clean(e.Set), endedText(e), clean(e.Set))
	}
	writeExpedited(w, r.Expedited)
	if len(r.Sets)+len(r.Left)+len(r.Ended) == 0 && r.Expedited == "" {
		fmt.Fprintln(w, "nothing to recover")
	}
}

// endedText says what was found on the store of a set that a reboot ended.
func endedText(e dm.EndedVolume) string {
	switch {
	case e.UsedBytes == nil:
		return "whose store cannot be read: " + clean(e.Reason)
	case !e.Valid:
		return "whose store " + clean(e.Store) + " was full or failed"
	}
	return "whose store " + clean(e.Store) + " holds " + sizeText(*e.UsedBytes) + " of exceptions"
}
