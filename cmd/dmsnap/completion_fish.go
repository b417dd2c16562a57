package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// fishCompletion is a list of complete commands (complete(1) of fish).
func fishCompletion(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(`# fish completion of dmsnap, made by "dmsnap completion fish"

function __dmsnap_sets
	dmsnap list 2>/dev/null | awk 'NR > 1 { print $1 }'
end

complete -c dmsnap -f
`)
	for _, f := range visible(app.Flags) {
		b.WriteString(fishFlag(app.Node, "", f))
	}
	for _, cmd := range app.Leaves(true) {
		fmt.Fprintf(&b, "complete -c dmsnap -n __fish_use_subcommand -a %s -d %s\n", cmd.Name, fishQuote(strings.TrimSuffix(cmd.Help, ".")))
	}
	for _, cmd := range app.Leaves(true) {
		seen := " -n '__fish_seen_subcommand_from " + cmd.Name + "'"
		for _, f := range visible(cmd.Flags) {
			b.WriteString(fishFlag(cmd, seen, f))
		}
		done := map[string]bool{}
		for _, a := range cmd.Positional {
			if source := fishSource(kindOf(cmd, a, false), a); source != "" && !done[source] {
				done[source] = true
				b.WriteString("complete -c dmsnap" + seen + source + "\n")
			}
		}
	}
	return b.String()
}

func fishFlag(cmd *kong.Node, seen string, f *kong.Flag) string {
	line := "complete -c dmsnap" + seen
	if f.Short != 0 {
		line += " -s " + string(f.Short)
	}
	line += " -l " + f.Name
	switch k := kindOf(cmd, f.Value, true); {
	case !wantsArgument(f):
	case k == path:
		line += " -r" + fishSource(k, f.Value)
	default: // nothing but what is named
		line += " -x" + fishSource(k, f.Value)
	}
	return line + " -d " + fishQuote(f.Help) + "\n"
}

// fishSource completes one kind; files are off unless they are asked for.
func fishSource(k kind, v *kong.Value) string {
	switch k {
	case set:
		return " -a '(__dmsnap_sets)'"
	case path:
		return " -F"
	case either:
		return " -F -a '(__dmsnap_sets)'"
	case choice:
		return " -a " + fishQuote(strings.Join(v.EnumSlice(), " "))
	}
	return ""
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
