package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

type listCmd struct {
	filter  `embed:""`
	Columns string `short:"o" default:"${columns}" placeholder:"COLUMNS" help:"Columns of the table, with commas between them; after a + beside the usual ones (${columns})."`
	Sort    string `placeholder:"COLUMN" help:"Sort by this column; in reverse with a - before it: --sort=-age."`
}

func (listCmd) Help() string {
	return `If there are no sets, nothing is printed. The columns are ` + columnNames() + `. USED is the fill of the fullest store of the set, FULL-IN the time until the first is full.`
}

func (listCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap list",
			"dmsnap list -o +labels --sort=-used",
			"dmsnap list --label job=7 --older-than 2d -o name",
			"dmsnap list --json | jq -r '.sets[] | select(.state != \"active\") | .name'",
		},
		exits: []int{0, 1, 2, 7},
	}
}

func (c *listCmd) Run(ctx context.Context, env *Env) error {
	shown, err := pickColumns(c.Columns)
	if err == nil && c.Sort != "" {
		err = sortSets(nil, c.Sort, env.Now)
	}
	err = cmp.Or(err, c.check())
	if err != nil {
		return &dm.Error{Op: "list", Code: dm.CodeUsage, Err: err, Hint: "see dmsnap list --help"}
	}
	all, err := env.Manager.List(ctx)
	if err != nil {
		return err
	}
	sets := c.choose(all, env.Now)
	if c.Sort != "" {
		if err := sortSets(sets, c.Sort, env.Now); err != nil {
			return err
		}
	}
	return emit(env, "sets", sets, func(w io.Writer) { env.writeList(w, shown, sets) })
}

func (e *Env) writeList(w io.Writer, shown []column, sets []dm.Set) {
	if len(sets) == 0 {
		return
	}
	var row []string
	for _, c := range shown {
		row = append(row, e.stateCell(c, "", strings.ToUpper(c.name)))
	}
	fmt.Fprintln(w, strings.Join(row, "\t"))
	for i := range sets {
		row = row[:0]
		for _, c := range shown {
			row = append(row, e.stateCell(c, sets[i].State, c.text(&sets[i], e.Now)))
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
}

// stateCell colours the cells of the state's column, all with as many bytes: the table's
// writer counts them.
func (e *Env) stateCell(c column, state dm.State, text string) string {
	if c.name != "state" || !e.Colour {
		return text
	}
	return paint(state, text)
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
	most := fillShare(volumes)
	for _, v := range volumes {
		if most >= 0 && fillShare([]dm.Volume{v}) == most {
			return percent(*v.Store.UsedBytes, v.Store.SizeBytes)
		}
	}
	return "-"
}
