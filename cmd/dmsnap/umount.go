package main

import (
	"context"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type umountCmd struct {
	Name string `arg:"" help:"Name of the set."`
}

func (umountCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap umount nightly"},
		exits:    []int{0, 1, 2, 3, 4, 5, 7, 10},
	}
}

// Run prints the mounts that are left, that is none.
func (c *umountCmd) Run(ctx context.Context, env *Env) error {
	if err := env.Manager.Unmount(ctx, c.Name); err != nil {
		return err
	}
	return changed("umount", c.Name, emit(env, "mounts", []dm.Mounted{}, func(io.Writer) {}))
}
