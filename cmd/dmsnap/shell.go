package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

type shellCmd struct {
	Args []string `arg:"" name:"name" sep:"none" help:"Name of the set. A command may follow after --."`
	Only bool     `help:"Leave out filesystems that are mounted below those of the set."`
	RW   []string `name:"rw" sep:"none" placeholder:"DIR" help:"Directory that stays live and writable; may be repeated."`
}

func (shellCmd) Help() string {
	return `dmsnap shell NAME [-- COMMAND [ARGUMENT...]] starts a shell, or the command, that sees the images of a set at the paths of their origins, ` +
		`read-only. The set stays. Everything outside of the shell sees the live system.`
}

func (shellCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap shell nightly", "dmsnap shell nightly -- diff -r /home/anna /mnt/restored"},
		exits:    []int{0, 124, 125, 126, 127},
	}
}

var errOneSet = errors.New("name one set")

func (c *shellCmd) Run(ctx context.Context, env *Env) error {
	command := []string{cmp.Or(os.Getenv("SHELL"), "/bin/sh")}
	names := c.Args
	var err error
	if slices.Contains(c.Args, "--") {
		names, command, err = cutCommand(c.Args)
	}
	r := dm.ExecRequest{Command: command, Only: c.Only, KillAfter: 30 * time.Second}
	if err == nil {
		r.Writable, err = absoluteAll(c.RW)
	}
	if err == nil && len(names) != 1 {
		err = errOneSet
	}
	if err != nil {
		return endExec(env, &dm.Execution{Status: statusFailed}, &dm.Error{Op: "shell", Code: dm.CodeUsage, Err: err, Hint: "see dmsnap shell --help"})
	}
	r.Set = names[0]
	return runExec(ctx, env, r, "")
}
