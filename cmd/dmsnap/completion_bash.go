package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// bashCompletion looks for the command among the words before the cursor, then
// completes the value of a flag, a flag or an argument. Names are compared, never
// expanded: a name is data.
func bashCompletion(app *kong.Application) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# bash completion of dmsnap, made by "dmsnap completion bash"

_dmsnap_from() {
	local word
	for word; do
		[[ $word == "$cur"* ]] && COMPREPLY+=("$word")
	done
}

_dmsnap_sets() {
	local names
	mapfile -t names < <(dmsnap list 2>/dev/null | awk 'NR > 1 { print $1 }')
	_dmsnap_from "${names[@]}"
}

_dmsnap_paths() {
	local names
	mapfile -t names < <(compgen -f -- "$cur")
	COMPREPLY+=("${names[@]}")
	compopt -o filenames 2>/dev/null
}

_dmsnap() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd='' i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
			%s) ((i++)) ;;
			-*) ;;
			*) cmd=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $cmd,$prev in
`, strings.Join(valueFlags(app.Flags), "|"))
	bashValues(&b, "*", app.Node, app.Flags)
	for _, cmd := range app.Leaves(true) {
		bashValues(&b, cmd.Name, cmd, cmd.Flags)
	}
	b.WriteString("\tesac\n\tif [[ $cur == -* ]]; then\n")
	fmt.Fprintf(&b, "\t\t_dmsnap_from %s\n\t\tcase $cmd in\n", strings.Join(spellings(app.Flags), " "))
	for _, cmd := range app.Leaves(true) {
		if all := spellings(cmd.Flags); len(all) > 0 {
			fmt.Fprintf(&b, "\t\t%s) _dmsnap_from %s ;;\n", cmd.Name, strings.Join(all, " "))
		}
	}
	b.WriteString("\t\tesac\n\t\treturn\n\tfi\n\tcase $cmd in\n")
	var names []string
	for _, cmd := range app.Leaves(true) {
		names = append(names, cmd.Name)
	}
	fmt.Fprintf(&b, "\t'') _dmsnap_from %s ;;\n", strings.Join(names, " "))
	for _, cmd := range app.Leaves(true) {
		bashArguments(&b, cmd)
	}
	b.WriteString("\tesac\n}\n\ncomplete -F _dmsnap dmsnap\n")
	return b.String()
}

// spellings are all forms of flags.
func spellings(flags []*kong.Flag) (all []string) {
	for _, f := range visible(flags) {
		all = append(all, "--"+f.Name)
		if f.Short != 0 {
			all = append(all, "-"+string(f.Short))
		}
	}
	return all
}

// valueFlags are those whose value is the next word.
func valueFlags(flags []*kong.Flag) (all []string) {
	for _, f := range visible(flags) {
		if wantsArgument(f) {
			all = append(all, spellings([]*kong.Flag{f})...)
		}
	}
	return all
}

// bashValues completes the values of a command's flags; those of the globals
// come first, with a pattern that matches every command.
func bashValues(b *strings.Builder, name string, cmd *kong.Node, flags []*kong.Flag) {
	for _, f := range visible(flags) {
		if !wantsArgument(f) {
			continue
		}
		var patterns []string
		for _, s := range spellings([]*kong.Flag{f}) {
			patterns = append(patterns, name+","+s)
		}
		fmt.Fprintf(b, "\t%s) %sreturn ;;\n", strings.Join(patterns, "|"), bashSource(kindOf(cmd, f.Value, true), f.Value))
	}
}

func bashArguments(b *strings.Builder, cmd *kong.Node) {
	all := places(cmd)
	if len(all) == 0 {
		return
	}
	text := bashSource(all[0], cmd.Positional[0])
	if len(all) > 1 && !slices.Equal(all[:1], all[1:]) {
		rest := bashSource(all[1], cmd.Positional[1])
		// The place is told by the word before: the command itself, or its first argument.
		text = fmt.Sprintf("if [[ $prev == %s ]]; then %selse %sfi; ", cmd.Name, cmp.Or(text, ":; "), cmp.Or(rest, ":; "))
	}
	if text != "" {
		fmt.Fprintf(b, "\t%s) %s;;\n", cmd.Name, text)
	}
}

// bashSource is the command that completes one kind.
func bashSource(k kind, v *kong.Value) string {
	switch k {
	case set:
		return "_dmsnap_sets; "
	case path:
		return "_dmsnap_paths; "
	case either:
		return "_dmsnap_sets; _dmsnap_paths; "
	case choice:
		return "_dmsnap_from " + strings.Join(v.EnumSlice(), " ") + "; "
	}
	return ""
}
