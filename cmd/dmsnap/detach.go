package main

import (
	"context"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type detachCmd struct {
	Origin string `arg:"" help:"The attached device: path, mount point or tag, as for create."`
}

func (detachCmd) Help() string {
	return `Undoes attach: I/O reaches the device directly again, and no device of dmsnap remains. It waits for I/O in flight. ` +
		`A device that still has sets is refused, and so is an adopted one that is mounted.`
}

func (detachCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap detach /"},
		exits:    []int{0, 1, 2, 3, 4, 5, 7, 10, 11},
	}
}

// Run prints the attachments that are left of the device, that is none.
func (c *detachCmd) Run(ctx context.Context, env *Env) error {
	origins, err := absoluteAll([]string{c.Origin})
	if err != nil {
		return &dm.Error{Op: "detach", Code: dm.CodeUsage, Err: err}
	}
	if err := env.Manager.Detach(ctx, origins[0]); err != nil {
		return err
	}
	return changed("detach", "", emit(env, "attachments", []dm.Attachment{}, func(io.Writer) {}))
}
