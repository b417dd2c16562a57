package main

import (
	"io"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCmd) Help() string {
	return `Prints the completion script of a shell. It completes commands, flags and names of existing sets.`
}

func (completionCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap completion bash > /etc/bash_completion.d/dmsnap",
			"dmsnap completion zsh > /usr/local/share/zsh/site-functions/_dmsnap",
			"dmsnap completion fish > /etc/fish/completions/dmsnap.fish",
		},
		exits: []int{0, 1, 2},
	}
}

// script is the result as an object.
type script struct {
	Shell string `json:"shell"`
	Text  string `json:"text"`
}

func (c *completionCmd) Run(env *Env) error {
	app, err := grammar(env)
	if err != nil {
		return err
	}
	s := script{Shell: c.Shell, Text: map[string]func(*kong.Application) string{
		"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion,
	}[c.Shell](app)}
	return emitPlain(env, "scripts", []script{s}, func(w io.Writer) { _, _ = io.WriteString(w, s.Text) })
}

// kind is what stands in a place of the command line.
type kind int

// The kinds. What is none of them is not completed.
const (
	free   kind = iota // anything
	set                // name of a set
	path               // a device, a file or a mount point
	either             // a set, or a path
	choice             // one of a list
)

// placeKinds say what the arguments and flags with a value are, by name. Those
// with a list of values need no entry; a name that is missing is anything.
var placeKinds = map[string]kind{
	"name": set, "since": set, "origin": path, "dir": path, "device": path, "dev": path, "state-dir": path, "store": path, "hooks": path,
	"as": path, "rw": path, "json-file": path,
}

// kindOf is the kind of an argument or of a flag's value. The name of why and
// graph is a set or an origin, that of create's flag is new.
func kindOf(cmd *kong.Node, v *kong.Value, isFlag bool) kind {
	switch {
	case v.Enum != "":
		return choice
	case isFlag && v.Name == "name":
		return free
	case v.Name == "name" && (cmd.Name == "why" || cmd.Name == "graph"):
		return either
	}
	return placeKinds[v.Name]
}

// places are the kinds of a command's arguments. There are at most two, and the
// last may repeat.
func places(cmd *kong.Node) []kind {
	var all []kind
	for _, a := range cmd.Positional {
		all = append(all, kindOf(cmd, a, false))
	}
	return all
}

// visible leaves hidden flags out.
func visible(flags []*kong.Flag) []*kong.Flag {
	var all []*kong.Flag
	for _, f := range flags {
		if !f.Hidden {
			all = append(all, f)
		}
	}
	return all
}
