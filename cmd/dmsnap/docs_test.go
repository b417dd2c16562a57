package main

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/dmsnap/dmsnap/dm"
)

// sections maps each "## " heading of docs/cli.md to its text.
func sections(t *testing.T) map[string]string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, s := range strings.Split(string(doc), "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		all[title] = text
	}
	return all
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	p, err := newParser(&cli{}, &Env{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Model
}

// flagNames are the flags of one node as the docs write them.
func flagNames(flags []*kong.Flag) []string {
	var names []string
	for _, f := range flags {
		names = append(names, "--"+f.Name)
		if f.Short != 0 {
			names = append(names, "-"+string(f.Short))
		}
	}
	return names
}

func TestDocsHaveGrammar(t *testing.T) {
	doc, app := sections(t), model(t)
	for _, f := range flagNames(app.Flags) {
		if !strings.Contains(doc["Global flags"], "`"+f) {
			t.Errorf("Global flags: no %s", f)
		}
	}
	for _, cmd := range app.Children {
		text, ok := doc["dmsnap "+cmd.Name]
		if !ok {
			t.Errorf("no section about %s", cmd.Name)
		}
		for _, f := range flagNames(cmd.Flags) {
			if !strings.Contains(text, "`"+f) {
				t.Errorf("%s: no %s", cmd.Name, f)
			}
		}
	}
}

// What the docs show does exist.
func TestGrammarHasDocs(t *testing.T) {
	app := model(t)
	global := flagNames(app.Flags)
	long := regexp.MustCompile("`(--?[a-z][a-z-]*)")
	for title, text := range sections(t) {
		name, isCmd := strings.CutPrefix(title, "dmsnap ")
		if !isCmd {
			continue
		}
		i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == name })
		if i < 0 {
			t.Errorf("no command %s", name)
			continue
		}
		known := append(flagNames(app.Children[i].Flags), global...)
		for _, m := range long.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s: no flag %s", name, m[1])
			}
		}
	}
}

func TestDocsHaveJSON(t *testing.T) {
	text := sections(t)["JSON"]
	for _, v := range []any{
		dm.Set{},
		dm.Mounted{},
		dm.Plan{},
		dm.Report{},
		dm.Recovered{},
		dm.Thawed{},
		dm.Graph{},
		dm.Explanation{},
		removal{},
		verdict{},
		dm.Extent{},
		listEnd{},
		build{},
		dm.Failure{},
	} {
		for _, field := range jsonFields(reflect.TypeOf(v)) {
			if !strings.Contains(text, "`"+field+"`") {
				t.Errorf("%T: no %s", v, field)
			}
		}
	}
}

// jsonFields names the fields of a type and of all it leads to.
func jsonFields(t reflect.Type) []string {
	var names []string
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return jsonFields(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				names = append(append(names, name), jsonFields(f.Type)...)
			}
		}
	}
	return names
}

// Each command says how it is used and how it ends.
func TestHelp(t *testing.T) {
	for _, cmd := range model(t).Children {
		o := do(t, nil, cmd.Name, "--help")
		if o.exit != 0 || o.stderr != "" {
			t.Errorf("%s: %s", cmd.Name, o)
		}
		for _, want := range []string{"Usage: dmsnap " + cmd.Name, "\nEXAMPLES\n  dmsnap " + cmd.Name, "\nEXIT STATUS\n   0  done\n"} {
			if !strings.Contains(o.stdout, want) {
				t.Errorf("%s: no %q in\n%s", cmd.Name, want, o.stdout)
			}
		}
	}
}

// The examples in help texts parse.
func TestExamples(t *testing.T) {
	t.Chdir(t.TempDir()) // man writes files
	for _, cmd := range model(t).Children {
		for _, e := range cmd.Target.Addr().Interface().(documented).manual().examples {
			line, _, _ := strings.Cut(e, " |")
			line, _, _ = strings.Cut(line, " >")
			m := &stub{
				set: nightly(), plan: samplePlan(), report: &dm.Report{DM: "4"}, graph: sampleGraph(), why: sampleExplanation(),
				recovers: &dm.Recovered{}, thaws: &dm.Thawed{},
			}
			o := do(t, m, strings.Fields(line)[1:]...)
			if nothing := slices.Contains([]string{"cut", "abort", "run", "check", "prune"}, cmd.Name); o.exit != 0 && !(nothing && o.exit == 4) { // none is prepared, or has a file
				t.Error(fmt.Sprint(e, "\n", o))
			}
		}
	}
}
