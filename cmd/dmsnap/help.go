package main

import (
	"bytes"
	"fmt"

	"github.com/alecthomas/kong"
)

// manual is what the help text of a command says beyond its flags.
type manual struct {
	examples []string
	exits    []int
}

type documented interface{ manual() manual }

// printHelp appends examples and exit statuses to kong's text. It always
// returns an error, errShown if all went well, as that ends the parsing.
func printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	cmd := ctx.Selected()
	if cmd != nil {
		for _, f := range ctx.Model.Flags { // they are in the help of dmsnap itself
			f.Hidden = f.Name != "help"
		}
	}
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return outputError(err)
	}
	var buf bytes.Buffer
	if cmd != nil {
		fmt.Fprintln(&buf, "\nFlags of every command, such as --json, --wait and -v: dmsnap --help")
	}
	m := manual{examples: []string{
		"dmsnap create /home --store /dev/vdc",
		"dmsnap list --json",
	}}
	if cmd != nil {
		m = cmd.Target.Addr().Interface().(documented).manual()
	}
	fmt.Fprintln(&buf, "\nEXAMPLES")
	for _, e := range m.examples {
		fmt.Fprintln(&buf, "  "+e)
	}
	fmt.Fprintln(&buf, "\nEXIT STATUS")
	writeStatuses(&buf, m.exits)
	if _, err := buf.WriteTo(ctx.Stdout); err != nil {
		return outputError(err)
	}
	return errShown
}
