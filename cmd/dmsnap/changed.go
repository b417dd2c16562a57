package main

import (
	"context"

	"github.com/dmsnap/dmsnap/dm"
)

type changedCmd struct {
	Name  string `arg:"" help:"The set to be copied; SET/VOLUME if it has several volumes."`
	Since string `required:"" placeholder:"SET" help:"The set that was copied before, by name or uuid."`
	From  uint64 `placeholder:"BYTE" help:"Leave out what lies before this byte, to continue a list."`
}

func (changedCmd) Help() string {
	return `Prints each range of the image that may differ from the other set's, as its offset and length in bytes; then a line that begins with "end". ` +
		`Without that line the list is not complete. With --json each line is an object: "extents", and at last "ends". ` +
		`No change is missed. Both sets must be persistent and of the same origin. It reads the records of their stores and no data. ` +
		`If the changes are not recorded the exit status is 12, and the whole image must be copied.`
}

func (changedCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap changed tuesday --since monday",
			"dmsnap changed tuesday/vg-home --since monday --json",
		},
		exits: []int{0, 1, 2, 4, 5, 6, 7, 12},
	}
}

func (c *changedCmd) Run(ctx context.Context, env *Env) error {
	set, volume := extentsOf(c.Name)
	list, err := env.Manager.Changed(ctx, dm.ChangedRequest{Set: set, Volume: volume, Since: c.Since, From: c.From})
	if err != nil {
		return err
	}
	return emitExtents(env, list, c.From)
}
