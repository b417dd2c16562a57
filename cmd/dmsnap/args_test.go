package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// "_" stands for an empty argument.
func words(line string) []string {
	args := strings.Fields(line)
	for i, a := range args {
		if a == "_" {
			args[i] = ""
		}
	}
	return args
}

func TestSortArgs(t *testing.T) {
	app := model(t)
	for line, want := range map[string]string{
		"":                                   "",
		"create":                             "create --",
		"-J":                                 "-J",
		"create /a --store /x /b --store /y": "create --store /x --store /y -- /a /b",
		"create /a -n x /b":                  "create -n x -- /a /b",
		"create /a -nx /b":                   "create -nx -- /a /b",
		"create /a --name=x /b":              "create --name=x -- /a /b",
		"create /a -Jvn x /b -qs 1g /c":      "create -Jvn x -qs 1g -- /a /b /c",
		"create /a --dry-run /b --json":      "create --dry-run --json -- /a /b",
		"create /a -vv /b":                   "create -vv -- /a /b",
		"create - /a -J -":                   "create -J -- - /a -",
		"create _ -J /a":                     "create -J -- _ /a",
		"create /a -n x -- -odd --json":      "create -n x -- /a -odd --json",
		"create -- --":                       "create -- --",
		"--state-dir create create /a -J /b": "create --state-dir create -J -- /a /b",
		"--state-dir=/x -J doctor /a -v /b":  "doctor --state-dir=/x -J -v -- /a /b",
		"remove a --state-dir /s b":          "remove --state-dir /s -- a b",
		"mount n --json /mnt":                "mount --json -- n /mnt",
		// Nothing becomes a value that was none.
		"create /a --dry-run --store":    "create /a --dry-run --store",
		"create /a --store --dry-run /b": "create --store --dry-run -- /a /b",
		"create /a --store -- /b":        "create --store -- /a /b",
		"create /a -n - /b":              "create -n -- /a - /b",
		"create /a --frob x /b":          "create --frob -- /a x /b",
		"create /a -z":                   "create -z -- /a",
		"--state-dir":                    "--state-dir",
	} {
		if got := sortArgs(app, words(line)); !slices.Equal(got, words(want)) {
			t.Errorf("%s: %q, want %s", line, got, want)
		}
	}
}

// Any order of flags and arguments is one request, and what is wrong in one
// order is wrong in the other.
func TestAnyOrder(t *testing.T) {
	first := &stub{set: nightly()}
	do(t, first, strings.Fields("create -n x --store /a=ram --store /b=/dev/c /a /b -J")...)
	for _, line := range []string{
		"create /a --store /a=ram /b --store /b=/dev/c -n x -J", "-J create /a -n x --store=/a=ram --store /b=/dev/c /b", "create --store /a=ram /a -Jnx --store /b=/dev/c -- /b",
	} {
		m := &stub{set: nightly()}
		o := do(t, m, strings.Fields(line)...)
		if diff := cmp.Diff(first.request, m.request); diff != "" || o.exit != 0 {
			t.Errorf("%s: %s\n%s", line, diff, o)
		}
	}
	for line, want := range map[string]string{
		"remove a -J b": "show a, show b, remove a, remove b", "doctor /a --json /b": "doctor /a /b", "remove a -- -b --json": "show a, show -b, show --json, remove a, remove -b, remove --json",
	} {
		m := &stub{report: sampleReport()}
		if do(t, m, strings.Fields(line)...); strings.Join(m.calls, ", ") != want {
			t.Errorf("%s: called %q", line, m.calls)
		}
	}
	for _, line := range []string{
		"create /a --dry-run --store", "create /a --store --dry-run /b", "create /a --store -- /b", "create /a -n - /b", "create /a --frob x /b", "create /a -z", "show a -J b",
	} {
		m := &stub{}
		if o := do(t, m, strings.Fields(line)...); o.exit != 2 || len(m.calls) != 0 {
			t.Errorf("%s: called %q\n%s", line, m.calls, o)
		}
	}
}

// Whether a flag takes a value does not depend on the command.
func TestFlagsAgree(t *testing.T) {
	app, value := model(t), map[string]bool{}
	flags := app.Flags
	for _, cmd := range app.Children {
		flags = append(flags, cmd.Flags...)
	}
	for _, f := range flags {
		takes := !f.IsBool() && !f.IsCounter()
		for _, name := range flagNames([]*kong.Flag{f}) {
			if before, seen := value[name]; seen && before != takes {
				t.Errorf("%s takes a value in one command only", name)
			}
			value[name] = takes
		}
	}
}
