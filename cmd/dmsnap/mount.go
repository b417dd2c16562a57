package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/dmsnap/dmsnap/dm"
)

type mountCmd struct {
	Name string `arg:"" help:"Name of the set."`
	Dir  string `arg:"" help:"Directory to mount on; created if missing."`
}

func (mountCmd) Help() string {
	return `A set of one volume is mounted on DIR itself; the volumes of a larger set are mounted below DIR, ` +
		`each at the path where its origin is mounted. Mount options are chosen so that an image can be mounted beside its origin.`
}

func (mountCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap mount nightly /mnt"},
		exits:    []int{0, 1, 2, 3, 4, 5, 6, 7, 10},
	}
}

func (c *mountCmd) Run(ctx context.Context, env *Env) error {
	if c.Dir == "" {
		return &dm.Error{Op: "mount", Set: c.Name, Code: dm.CodeUsage, Err: errors.New("the directory's name is empty")}
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	mounts, err := env.Manager.Mount(ctx, c.Name, dir)
	if err != nil {
		return err
	}
	return changed("mount", c.Name, emit(env, "mounts", mounts, func(w io.Writer) { writeMounts(w, mounts) }))
}

func writeMounts(w io.Writer, mounts []dm.Mounted) {
	fmt.Fprintln(w, "VOLUME\tIMAGE\tMOUNTED ON\tTYPE\tOPTIONS")
	for _, m := range mounts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", clean(m.Volume), clean(m.Device), clean(m.Path), orDash(m.FSType), orDash(m.Options))
	}
}
