package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type listCmd struct{}

func (listCmd) Help() string {
	return `USED is the fill of the fullest store of the set. If there are no sets, nothing is printed.`
}

func (listCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap list",
			"dmsnap list --json | jq -r '.sets[] | select(.state != \"active\") | .name'",
		},
		exits: []int{0, 1, 2, 7},
	}
}

func (listCmd) Run(ctx context.Context, env *Env) error {
	sets, err := env.Manager.List(ctx)
	if err != nil {
		return err
	}
	return emit(env, "sets", sets, func(w io.Writer) { writeList(w, sets) })
}

func writeList(w io.Writer, sets []dm.Set) {
	if len(sets) == 0 {
		return
	}
	fmt.Fprintln(w, "NAME\tSTATE\tVOLUMES\tCREATED\tCONSISTENCY\tUSED")
	for _, s := range sets {
		consistency := "-"
		if s.Receipt != nil {
			consistency = orDash(string(s.Receipt.Consistency))
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", setName(&s), stateText(&s), len(s.Volumes), timeText(s.Created), consistency, fullest(s.Volumes))
	}
}

// stateText tells bookmarks from sets that have images.
func stateText(s *dm.Set) string {
	if s.Bookmark && s.State == dm.StateActive {
		return "bookmark"
	}
	return string(s.State)
}

// setName is what a user calls the set; one without a record has only its uuid.
func setName(s *dm.Set) string {
	if s.Name == "" {
		return orDash(s.UUID)
	}
	return clean(s.Name)
}

// fullest gives the usage of the store with the largest share in use.
func fullest(volumes []dm.Volume) string {
	text, most := "-", -1.0
	for _, v := range volumes {
		if v.Store.UsedBytes == nil || v.Store.SizeBytes == 0 {
			continue
		}
		if share := float64(*v.Store.UsedBytes) / float64(v.Store.SizeBytes); share > most {
			text, most = percent(*v.Store.UsedBytes, v.Store.SizeBytes), share
		}
	}
	return text
}
