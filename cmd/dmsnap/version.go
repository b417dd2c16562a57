package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

func (versionCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap version", "dmsnap version --json"},
		exits:    []int{0, 1, 2},
	}
}

func (versionCmd) Run(_ context.Context, env *Env) error { return emitVersion(env) }

func emitVersion(env *Env) error {
	v := readBuild()
	return emit(env, "versions", []build{v}, func(w io.Writer) { fmt.Fprintln(w, v) })
}

// versionFlag is --version: what the version command prints.
type versionFlag bool

// BeforeReset runs before anything is checked, so that the flag needs no
// command beside it.
func (versionFlag) BeforeReset(env *Env) error {
	if err := emitVersion(env); err != nil {
		return err
	}
	return errShown
}

// build is what the binary knows about itself.
type build struct {
	Version  string  `json:"version"`
	Commit   *string `json:"commit"`   // null if not built in a work tree
	Modified *bool   `json:"modified"` // the work tree differed from the commit
	Go       string  `json:"go"`
}

func (b build) String() string {
	s := "dmsnap " + b.Version
	if b.Commit != nil {
		s += " commit " + *b.Commit
	}
	if b.Modified != nil && *b.Modified {
		s += " (modified)"
	}
	return s + " " + b.Go
}

func readBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = &s.Value
		case "vcs.modified":
			modified := s.Value == "true"
			b.Modified = &modified
		}
	}
	return b
}
