package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// shell completes command lines in a real shell. There the dmsnap on the PATH
// lists two sets.
type shell struct {
	t         *testing.T
	dir, text string
}

const fakeList = "#!/bin/sh\n[ \"$1\" = list ] && printf 'NAME  STATE\\nnightly  active\\nweekly@1  active\\n'\n"

func newShell(t *testing.T, name string) *shell {
	t.Helper()
	hostOnly(t)
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("host only: there is no " + name)
	}
	s := &shell{t: t, dir: t.TempDir(), text: do(t, nil, "completion", name).stdout}
	for file, text := range map[string]string{"dmsnap": fakeList, "script": s.text, "store.img": ""} {
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// run runs a program in a directory with a file and the fake.
func (s *shell) run(args ...string) []string {
	s.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+s.dir+":"+os.Getenv("PATH"), "HOME="+s.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	var all []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		word, _, _ := strings.Cut(line, "\t")
		all = append(all, word)
	}
	return all
}

const bashDriver = `source ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dmsnap; printf '%s\n' "${COMPREPLY[@]}"`

// complete gives the candidates for the last of some words.
type complete func(words ...string) []string

func completers(t *testing.T) map[string]complete {
	return map[string]complete{
		"bash": func(words ...string) []string {
			s := newShell(t, "bash")
			return s.run(append([]string{"bash", "-c", bashDriver, "_", "dmsnap"}, words...)...)
		},
		"fish": func(words ...string) []string {
			s := newShell(t, "fish")
			return s.run("fish", "--no-config", "-c", `source ./script; complete -C "$argv"`, "dmsnap "+strings.Join(words, " "))
		},
	}
}

// long are the flags of a command and of all, as they are typed.
func long(app *kong.Application, cmd *kong.Node) (all []string) {
	for _, f := range slices.Concat(app.Flags, visible(cmd.Flags)) {
		all = append(all, "--"+f.Name)
	}
	return all
}

// Each shell offers every command and flag, and nothing else.
func TestCompletionHasGrammar(t *testing.T) {
	app := model(t)
	var commands []string
	for _, cmd := range app.Leaves(true) {
		commands = append(commands, cmd.Name)
	}
	for name := range completers(t) {
		t.Run(name, func(t *testing.T) {
			complete := completers(t)[name]
			if got := complete(""); !same(got, commands) {
				t.Errorf("commands %v, want %v", got, commands)
			}
			for _, cmd := range app.Leaves(true) {
				if got := complete(cmd.Name, "--"); !same(got, long(app, cmd)) {
					t.Errorf("%s: flags %v, want %v", cmd.Name, got, long(app, cmd))
				}
			}
		})
	}
}

// Each shell offers sets, files and values where they belong.
func TestCompletionKnowsPlaces(t *testing.T) {
	for name := range completers(t) {
		t.Run(name, func(t *testing.T) {
			complete := completers(t)[name]
			for _, c := range []struct {
				words []string
				want  []string
			}{
				{[]string{"re"}, []string{"remove", "release", "recover", "report"}},
				{[]string{"show", ""}, []string{"nightly", "weekly@1"}},
				{[]string{"remove", "nightly", "w"}, []string{"weekly@1"}},
				{[]string{"--json", "umount", "n"}, []string{"nightly"}},
				{[]string{"create", "sto"}, []string{"store.img"}},
				{[]string{"create", "--store", "sto"}, []string{"store.img"}},
				{[]string{"create", "--consistency", ""}, []string{"auto", "app", "fs", "crash"}},
				{[]string{"create", "--name", "n"}, []string{""}},
				{[]string{"mount", "nightly", "sto"}, []string{"store.img"}},
				{[]string{"why", "n"}, []string{"nightly"}},
				{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}},
			} {
				if got := complete(c.words...); !same(got, c.want) {
					t.Errorf("%q: %q, want %q", c.words, got, c.want)
				}
			}
		})
	}
}

// zsh is read, not run: its completion needs a terminal.
func TestZshHasGrammar(t *testing.T) {
	app := model(t)
	text := do(t, nil, "completion", "zsh").stdout
	specs := regexp.MustCompile(`\{(-\w)\+?,(--[\w-]+)=?\}|[)*'](--[\w-]+)[=\[]`)
	flags := func(block string) (all []string) {
		for _, m := range specs.FindAllStringSubmatch(block, -1) {
			all = append(all, slices.DeleteFunc(m[1:], func(s string) bool { return s == "" })...)
		}
		return all
	}
	_, rest, _ := strings.Cut(text, "globals=(\n")
	globals, rest, _ := strings.Cut(rest, "\n\t)\n")
	if got, want := flags(globals), flagNames(app.Flags); !same(got, want) {
		t.Errorf("globals %v, want %v", got, want)
	}
	_, rest, _ = strings.Cut(rest, "case $words[1] in\n")
	blocks := regexp.MustCompile(`(?s)\t\t(\w+)\) _arguments (.*?) ;;\n`).FindAllStringSubmatch(rest, -1)
	var commands []string
	for _, b := range blocks {
		i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == b[1] })
		if i < 0 {
			t.Fatalf("no command %s", b[1])
		}
		commands = append(commands, b[1])
		if got, want := flags(b[2]), flagNames(visible(app.Children[i].Flags)); !same(got, want) {
			t.Errorf("%s: flags %v, want %v", b[1], got, want)
		}
	}
	for _, cmd := range app.Leaves(true) {
		if !slices.Contains(commands, cmd.Name) || !strings.Contains(text, "'"+cmd.Name+":") {
			t.Errorf("no %s", cmd.Name)
		}
	}
	newShell(t, "zsh").run("zsh", "-n", "./script")
}
