package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// sortArgs lets flags and arguments stand in any order: kong ends a list of
// arguments at the first flag. The command comes first, then all flags, "--" and
// the arguments. A command line that ends in the middle of a flag is left alone,
// so that no argument becomes a value.
func sortArgs(app *kong.Application, args []string) []string {
	known := slices.Clone(app.Flags)
	for _, cmd := range app.Children {
		known = append(known, cmd.Flags...)
	}
	var flags, words []string
	for rest := args; len(rest) > 0; {
		n := 1
		switch arg := rest[0]; {
		case arg == "--":
			n = len(rest)
			if !runsCommand(words) { // those know their command by it
				rest = rest[1:]
				n--
			}
			words = append(words, rest...)
		case len(arg) < 2 || arg[0] != '-':
			words = append(words, arg)
		case !wantsValue(known, arg):
			flags = append(flags, arg)
		case len(rest) == 1:
			return args
		default:
			if !strings.HasPrefix(rest[1], "-") { // else kong says that it is no value
				n = 2
			}
			flags = append(flags, rest[:n]...)
		}
		rest = rest[n:]
	}
	if len(words) == 0 {
		return flags
	}
	return slices.Concat(words[:1], flags, []string{"--"}, words[1:])
}

// runsCommand tells whether a command of its own follows after "--".
func runsCommand(words []string) bool {
	return len(words) > 0 && (words[0] == "exec" || words[0] == "shell")
}

// wantsValue tells whether the value of a flag, or of the last of several short
// ones, is the next argument.
func wantsValue(known []*kong.Flag, arg string) bool {
	takes := func(is func(*kong.Flag) bool) bool {
		return slices.ContainsFunc(known, func(f *kong.Flag) bool { return is(f) && !f.IsBool() && !f.IsCounter() })
	}
	if name, long := strings.CutPrefix(arg, "--"); long {
		return takes(func(f *kong.Flag) bool { return f.Name == name || slices.Contains(f.Aliases, name) })
	}
	for i, r := range arg[1:] {
		if takes(func(f *kong.Flag) bool { return f.Short == r }) {
			return i == len(arg)-2 // else what follows is the value
		}
	}
	return false
}
