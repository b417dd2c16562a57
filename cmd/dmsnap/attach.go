package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type attachCmd struct {
	Origin string  `arg:"" help:"Plain block device, mount point or tag, as for create."`
	Layer  *string `placeholder:"TABLE" help:"Device-mapper table that all I/O is to pass, such as dm-era's."`
}

func (attachCmd) Help() string {
	return `Brings a partition or disk under device-mapper while it stays in use, with the kernel module dm-interpose, and keeps ` +
		`it there until detach. Nothing is frozen or suspended. create does the same on its own for as long as the device has sets; ` +
		`attaching beforehand makes later snapshots faster.` + "\n\n" +
		`Without the module, a device that is not in use is adopted: mount /dev/mapper/adopted-NAME in its place. It is then ` +
		`an origin like any logical volume, until detach.` + "\n\n" +
		`With --layer, a device with the given table is put beneath the snapshots: dm-era to track changed blocks, or linear, delay, ` +
		`dust or log-writes. The table is written as for dmsetup create and names the device by its path where the target is to find ` +
		`it, for example "0 2097152 era /dev/vdb1 /dev/vda1 128" for /dev/vda1 with metadata on /dev/vdb1. It must be exactly as large as the device, in sectors, and map each sector to itself. A device that the target keeps ` +
		`data of its own on must be unused and empty, or hold that data from before; it is not wiped by detach. ` +
		`Needs the module.` + "\n\n" +
		`A snapshot never harms its origin; a layer can. When the metadata device of dm-era is full or fails, writes to ` +
		`the origin fail, too. What is written while the device is not attached, dm-era does not see.`
}

func (attachCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap attach /", "dmsnap attach /dev/vda1 --json",
			`dmsnap attach / --layer "$TABLE"`,
		},
		exits: []int{0, 1, 2, 3, 4, 5, 7, 10, 11},
	}
}

func (c *attachCmd) Run(ctx context.Context, env *Env) error {
	origins, err := absoluteAll([]string{c.Origin})
	if err != nil {
		return &dm.Error{Op: "attach", Code: dm.CodeUsage, Err: err}
	}
	a, err := c.attach(ctx, env.Manager, origins[0])
	if err != nil {
		return err
	}
	return changed("attach", "", emit(env, "attachments", []dm.Attachment{*a}, func(w io.Writer) { writeAttachment(w, a) }))
}

func (c *attachCmd) attach(ctx context.Context, m manager, origin string) (*dm.Attachment, error) {
	if c.Layer == nil {
		return m.Attach(ctx, origin)
	}
	return m.AttachLayer(ctx, origin, *c.Layer)
}

func writeAttachment(w io.Writer, a *dm.Attachment) {
	fmt.Fprintln(w, "ORIGIN\tDEVICE\tMOUNTED ON\tFRONT\tREDIRECTOR\tLAYER")
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", clean(a.Origin), a.OriginDevno, list(a.Mountpoints), clean(a.Front), orDash(a.Redirector), orDash(a.Layer))
}
