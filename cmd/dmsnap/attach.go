package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type attachCmd struct {
	Origin string `arg:"" help:"Plain block device, mount point or tag, as for create."`
}

func (attachCmd) Help() string {
	return `Brings a partition or disk under device-mapper while it stays in use, with the kernel module dm-interpose, and keeps ` +
		`it there until detach. Nothing is frozen or suspended. create does the same on its own for as long as the device has sets; ` +
		`attaching beforehand makes later snapshots faster.` + "\n\n" +
		`Without the module, a device that is not in use is adopted: mount /dev/mapper/adopted-NAME in its place. It is then ` +
		`an origin like any logical volume, until detach.`
}

func (attachCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap attach /", "dmsnap attach /dev/vda1 --json"},
		exits:    []int{0, 1, 2, 3, 4, 5, 7, 10, 11},
	}
}

func (c *attachCmd) Run(ctx context.Context, env *Env) error {
	origins, err := absoluteAll([]string{c.Origin})
	if err != nil {
		return &dm.Error{Op: "attach", Code: dm.CodeUsage, Err: err}
	}
	a, err := env.Manager.Attach(ctx, origins[0])
	if err != nil {
		return err
	}
	return changed("attach", "", emit(env, "attachments", []dm.Attachment{*a}, func(w io.Writer) { writeAttachment(w, a) }))
}

func writeAttachment(w io.Writer, a *dm.Attachment) {
	fmt.Fprintln(w, "ORIGIN\tDEVICE\tMOUNTED ON\tFRONT\tREDIRECTOR")
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", clean(a.Origin), a.OriginDevno, list(a.Mountpoints), clean(a.Front), orDash(a.Redirector))
}
