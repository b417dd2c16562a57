package main

import (
	"context"

	"github.com/dmsnap/dmsnap/dm"
)

type allocatedCmd struct {
	Name string `arg:"" help:"Name of the set; SET/VOLUME if it has several volumes."`
	From uint64 `placeholder:"BYTE" help:"Leave out what lies before this byte, to continue a list."`
}

func (allocatedCmd) Help() string {
	return `Prints each range of an image that its filesystem uses, as its offset and length in bytes; then a line that begins with "end". ` +
		`Without that line the list is not complete. With --json each line is an object: "extents", and at last "ends". ` +
		`It asks the filesystem which blocks are free: an ext4 or xfs that was verified as frozen. Of any other image everything is listed, and the last line says why.`
}

func (allocatedCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap allocated nightly",
			"dmsnap allocated nightly/vg-home --json",
		},
		exits: []int{0, 1, 2, 4, 5, 6, 7},
	}
}

func (c *allocatedCmd) Run(ctx context.Context, env *Env) error {
	set, volume := extentsOf(c.Name)
	list, err := env.Manager.Allocated(ctx, dm.AllocatedRequest{Set: set, Volume: volume, From: c.From})
	if err != nil {
		return err
	}
	return emitExtents(env, list, c.From)
}
