package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// zshCompletion is in the language of _arguments (zshcompsys(1)).
func zshCompletion(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(`#compdef dmsnap
# zsh completion of dmsnap, made by "dmsnap completion zsh"

_dmsnap_sets() {
	local -a names
	names=(${(f)"$(dmsnap list 2>/dev/null | awk 'NR > 1 { print $1 }')"})
	compadd -a names
}

_dmsnap_either() {
	_dmsnap_sets
	_files
}

_dmsnap() {
	local curcontext=$curcontext state line
	local -a globals commands
	globals=(
`)
	for _, f := range visible(app.Flags) {
		fmt.Fprintf(&b, "\t\t%s\n", zshFlag(app.Node, f))
	}
	b.WriteString("\t)\n\tcommands=(\n")
	for _, cmd := range app.Leaves(true) {
		fmt.Fprintf(&b, "\t\t%s\n", zshQuote(cmd.Name+":"+strings.TrimSuffix(cmd.Help, ".")))
	}
	b.WriteString("\t)\n\t_arguments -C $globals '1:command:->command' '*::argument:->argument'\n")
	b.WriteString("\tcase $state in\n\tcommand) _describe command commands ;;\n\targument)\n\t\tcase $words[1] in\n")
	for _, cmd := range app.Leaves(true) {
		fmt.Fprintf(&b, "\t\t%s) _arguments $globals", cmd.Name)
		for _, f := range visible(cmd.Flags) {
			b.WriteString(" \\\n\t\t\t" + zshFlag(cmd, f))
		}
		for i, a := range cmd.Positional {
			place := fmt.Sprint(i + 1)
			if a.IsCumulative() {
				place = "*"
			}
			b.WriteString(" \\\n\t\t\t" + zshQuote(place+":"+a.Name+":"+zshAction(kindOf(cmd, a, false), a)))
		}
		b.WriteString(" ;;\n")
	}
	b.WriteString("\t\tesac ;;\n\tesac\n}\n\n_dmsnap \"$@\"\n")
	return b.String()
}

// zshFlag is one specification: '(-n --name)'{-n+,--name=}'[help]:NAME:action'.
func zshFlag(cmd *kong.Node, f *kong.Flag) string {
	long, short := "--"+f.Name, ""
	if f.Short != 0 {
		short = "-" + string(f.Short)
	}
	repeat, exclude := "", strings.TrimSpace(short+" "+long)
	if f.IsCumulative() || f.IsCounter() {
		repeat, exclude = "*", ""
	}
	rest := "[" + zshEscape(f.Help, `[]\`) + "]"
	if wantsArgument(f) {
		rest += ":" + zshEscape(f.FormatPlaceHolder(), `:\`) + ":" + zshAction(kindOf(cmd, f.Value, true), f.Value)
		if long += "="; short != "" {
			short += "+"
		}
	}
	head := repeat
	if exclude != "" {
		head = "(" + exclude + ")" + repeat
	}
	if short == "" {
		return zshQuote(head + long + rest)
	}
	return zshQuote(head) + "{" + short + "," + long + "}" + zshQuote(rest)
}

func zshAction(k kind, v *kong.Value) string {
	switch k {
	case set:
		return "_dmsnap_sets"
	case path:
		return "_files"
	case either:
		return "_dmsnap_either"
	case choice:
		return "(" + strings.Join(v.EnumSlice(), " ") + ")"
	}
	return " "
}

// zshEscape puts a backslash before special characters.
func zshEscape(s, special string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(special, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func zshQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
