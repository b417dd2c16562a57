package main

import (
	"context"
	"io"

	"github.com/dmsnap/dmsnap/dm"
)

type holdCmd struct {
	Name string `arg:"" help:"Name of the set."`
}

func (holdCmd) Help() string {
	return `Keeps a set past the end of its lease, until dmsnap release. dmsnap remove still removes it.`
}

func (holdCmd) manual() manual {
	return manual{examples: []string{"dmsnap hold nightly"}, exits: []int{0, 1, 2, 3, 4, 7, 10}}
}

func (c *holdCmd) Run(ctx context.Context, env *Env) error {
	s, err := env.Manager.Hold(ctx, c.Name)
	return emitLease(env, "hold", s, err)
}

type releaseCmd struct {
	Name string `arg:"" help:"Name of the set."`
}

func (releaseCmd) Help() string {
	return `Undoes dmsnap hold. A set whose lease has ended is removed by the next command that changes something, or by the monitor.`
}

func (releaseCmd) manual() manual {
	return manual{examples: []string{"dmsnap release nightly"}, exits: []int{0, 1, 2, 3, 4, 7, 10}}
}

func (c *releaseCmd) Run(ctx context.Context, env *Env) error {
	s, err := env.Manager.Release(ctx, c.Name)
	return emitLease(env, "release", s, err)
}

func emitLease(env *Env, op string, s *dm.Set, err error) error {
	if err != nil {
		return err
	}
	return changed(op, s.Name, emit(env, "sets", []dm.Set{*s}, func(w io.Writer) { env.writeSet(w, s) }))
}
