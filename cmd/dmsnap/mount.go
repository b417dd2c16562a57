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
	Name   string `arg:"" help:"Name of the set."`
	Dir    string `arg:"" help:"Directory to mount on; created if missing."`
	Layout string `placeholder:"tree|flat" help:"Layout of any number of volumes: tree, below DIR at their origins' mount points; flat, on DIR/VOLUME."`
	Suid   bool   `help:"Honour set-user-ID and set-group-ID bits in the images."`
	Dev    bool   `help:"Honour device nodes in the images."`
}

func (mountCmd) Help() string {
	return `Without --layout, a set of one volume is mounted on DIR itself; the volumes of a larger set are mounted below DIR, ` +
		`each at the path where its origin is mounted. Mount options are chosen so that an image can be mounted beside its origin.`
}

func (mountCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap mount nightly /mnt", "dmsnap mount nightly /mnt --layout tree"},
		exits:    []int{0, 1, 2, 3, 4, 5, 6, 7, 10},
	}
}

func (c *mountCmd) Run(ctx context.Context, env *Env) error {
	if c.Dir == "" {
		return &dm.Error{Op: "mount", Set: c.Name, Code: dm.CodeUsage, Err: errors.New("the directory's name is empty")}
	}
	if layout := dm.Layout(c.Layout); layout != dm.LayoutUsual && layout != dm.LayoutTree && layout != dm.LayoutFlat {
		return &dm.Error{Op: "mount", Set: c.Name, Code: dm.CodeUsage, Err: fmt.Errorf("--layout must be tree or flat, not %q", c.Layout)}
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	mounts, err := env.Manager.MountWith(ctx, dm.MountRequest{Name: c.Name, Dir: dir, Layout: dm.Layout(c.Layout), Suid: c.Suid, Dev: c.Dev})
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
