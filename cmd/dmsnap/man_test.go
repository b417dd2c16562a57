package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// pages writes the manual and reads it back.
func pages(t *testing.T) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "man")
	o := do(t, nil, "man", dir)
	all := map[string]string{}
	for _, path := range strings.Fields(o.stdout) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = string(text)
	}
	if o.exit != 0 || len(all) == 0 {
		t.Fatal(o)
	}
	return all
}

// manItems are the items of one section: what stands in bold after each .TP.
func manItems(page, section string) (all []string) {
	_, text, _ := strings.Cut(page, "\n.SH "+section+"\n")
	text, _, _ = strings.Cut(text, "\n.SH ")
	for _, item := range strings.Split("\n"+text, "\n.TP\n")[1:] {
		line, _, _ := strings.Cut(item, "\n")
		for _, m := range regexp.MustCompile(`\\fB(.*?)\\fR`).FindAllStringSubmatch(line, -1) {
			all = append(all, strings.ReplaceAll(m[1], `\-`, "-"))
		}
	}
	return all
}

// Every command and flag has its place in the manual, and nothing else has.
func TestManHasGrammar(t *testing.T) {
	all, app := pages(t), model(t)
	var commands, files []string
	for _, cmd := range app.Leaves(true) {
		commands = append(commands, cmd.Name)
		name := pageName(cmd)
		files = append(files, name)
		if got, want := manItems(all[name], "OPTIONS"), flagNames(visible(cmd.Flags)); !same(got, want) {
			t.Errorf("%s: options %v, want %v", name, got, want)
		}
		for _, a := range cmd.Positional {
			if !strings.Contains(all[name], `\fI`+roff(strings.ToUpper(a.Name))) {
				t.Errorf("%s: no argument %s", name, a.Name)
			}
		}
	}
	if got := manItems(all["dmsnap.8"], "COMMANDS"); !same(got, commands) {
		t.Errorf("commands %v, want %v", got, commands)
	}
	if got, want := manItems(all["dmsnap.8"], "OPTIONS"), flagNames(app.Flags); !same(got, want) {
		t.Errorf("options %v, want %v", got, want)
	}
	for _, name := range []string{"dmsnap.8", "dmsnap.conf.5", "dmsnap-profiles.5", "dmsnap-concepts.7", "dmsnap-hooks.7", "dmsnap-recovery.7", "dmsnap-stores.7"} {
		delete(all, name)
	}
	var got []string
	for name := range all {
		got = append(got, name)
	}
	if !same(got, files) {
		t.Errorf("pages %v, want %v", got, files)
	}
}

// The keys of dmsnap.conf(5) are those of the parser, which takes its example.
func TestManHasConfig(t *testing.T) {
	page := pages(t)["dmsnap.conf.5"]
	p, err := parseConfig([]byte(configExample))
	if err != nil || len(p.all.Stores) != 2 || len(p.origins) != 1 || len(p.monitor) != 2 {
		t.Errorf("the example: %+v, %v", p, err)
	}
	_, err = parseConfig([]byte("nothing = 1"))
	for _, k := range manItems(page, "KEYS") {
		if !strings.Contains(err.Error(), k) {
			t.Errorf("%s is not among the keys of %v", k, err)
		}
		if !strings.Contains(sections(t)["Configuration"], "| `"+k+"` |") {
			t.Errorf("docs/cli.md: no %s", k)
		}
	}
	if n := len(manItems(page, "KEYS")); n != len(configKeys()) {
		t.Errorf("%d keys, want %d", n, len(configKeys()))
	}
}

// The keys of dmsnap-profiles(5) are those of the parser, which takes its example, and docs/profiles.md has them.
func TestManHasProfiles(t *testing.T) {
	if _, err := parseProfile("home", profileExample); err != nil {
		t.Errorf("the example: %v", err)
	}
	doc, err := os.ReadFile("../../docs/profiles.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := manItems(pages(t)["dmsnap-profiles.5"], "KEYS")
	if len(keys) != len(profileKeys()) {
		t.Errorf("%d keys, want %d", len(keys), len(profileKeys()))
	}
	for _, k := range keys {
		if !strings.Contains(string(doc), "| `"+k+"` |") {
			t.Errorf("docs/profiles.md: no %s", k)
		}
	}
	for block := range strings.SplitSeq(string(doc), "\n\n") {
		if strings.HasPrefix(block, "    origin = ") {
			if _, err := parseProfile("home", block); err != nil {
				t.Errorf("docs/profiles.md: %v\n%s", err, block)
			}
		}
	}
}

// dmsnap-hooks(7) and docs/hooks.md tell the same, and its example is a program.
func TestManHasHooks(t *testing.T) {
	page := pages(t)["dmsnap-hooks.7"]
	doc, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for _, m := range regexp.MustCompile("(?m)^\\|.*\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		events = append(events, m[1])
	}
	if got := manItems(page, "EVENTS"); !same(got, events) {
		t.Errorf("events %v, want %v", got, events)
	}
	for _, m := range regexp.MustCompile(`"[a-z_]+":`).FindAllString(string(doc), -1) {
		if !strings.Contains(page, m) {
			t.Errorf("input: no %s", m)
		}
	}
	for _, e := range events {
		cmd := exec.Command("sh", "-eu", "-c", strings.TrimSpace(hookExample), "hook", e)
		cmd.Stdin = strings.NewReader("{}\n")
		if out, err := cmd.CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("the example at %s: %v %s", e, err, out)
		}
	}
}

// dmsnap-stores(7) and docs/cli.md know the same kinds of stores.
func TestManHasStores(t *testing.T) {
	_, table, _ := strings.Cut(sections(t)["dmsnap create"], "| SPEC | the store |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, m := range regexp.MustCompile("`([a-z:]+)(?:PATH|LIMIT)?`").FindAllStringSubmatch(table, -1) {
		if spec := m[1]; strings.Contains("file: ram ram: auto", spec) && !slices.ContainsFunc(storeKinds(), func(k struct{ spec, help string }) bool { return strings.Contains(k.spec, spec) }) {
			t.Errorf("no %s", spec)
		}
	}
	rows := strings.Count(table, "\n|") - 1
	if len(storeKinds()) != rows {
		t.Errorf("%d kinds, docs/cli.md has %d", len(storeKinds()), rows)
	}
}

// Flags that pages about more than one command speak of exist.
func TestManKnowsFlags(t *testing.T) {
	known := flagNames(model(t).Flags)
	for _, cmd := range model(t).Leaves(true) {
		known = append(known, flagNames(cmd.Flags)...)
	}
	for _, name := range []string{"dmsnap.conf.5", "dmsnap-hooks.7", "dmsnap-recovery.7", "dmsnap-stores.7"} {
		text := strings.ReplaceAll(pages(t)[name], `\-`, "-")
		for _, flag := range regexp.MustCompile(`--[a-z][a-z-]*[a-z]`).FindAllString(text, -1) {
			if !slices.Contains(known, flag) {
				t.Errorf("%s: no flag %s", name, flag)
			}
		}
	}
}

func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"--all":       `\-\-all`,
		`a\b 'c' ~`:   `a\eb \(aqc\(aq \(ti`,
		".hidden\nno": `\&.hidden no`,
	} {
		if got := roff(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// Programs that print manual pages have nothing to say about these.
func TestManIsWellFormed(t *testing.T) {
	hostOnly(t)
	for name, text := range pages(t) {
		for _, args := range [][]string{{"groff", "-man", "-ww", "-Tutf8", "-z"}, {"mandoc", "-Tlint", "-W", "warning"}} {
			if _, err := exec.LookPath(args[0]); err != nil {
				continue
			}
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdin = strings.NewReader(text)
			out, _ := cmd.CombinedOutput()
			for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
				if line != "" && !strings.Contains(line, "missing date") { // on purpose
					t.Errorf("%s: %s: %s", name, args[0], line)
				}
			}
		}
	}
}

// hostOnly keeps tests of programs on the host out of guests.
func hostOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: it says nothing about the kernel it runs on")
	}
}

// docs/glossary.md and dmsnap-concepts(7) have the same words, in the same order.
func TestGlossary(t *testing.T) {
	doc, err := os.ReadFile("../../docs/glossary.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| **") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	var want []string
	for _, c := range concepts() {
		want = append(want, "| **"+c.word+"** | "+c.meaning+" | "+c.standard+" |")
	}
	if !slices.Equal(rows, want) {
		t.Errorf("docs/glossary.md should have these rows:\n%s", strings.Join(want, "\n"))
	}
}

// TestGlossaryHasWords: the states and roles that the program prints are terms of the
// glossary. Their lists are those of the JSON Schemas, which are made from the types.
func TestGlossaryHasWords(t *testing.T) {
	terms := map[string]bool{}
	for _, c := range concepts() {
		for word := range strings.FieldsFuncSeq(c.word+" "+c.meaning, func(r rune) bool { return !unicode.IsLetter(r) }) {
			terms[word] = true
		}
	}
	neverPrinted := []string{"merging", "merged"} // kept in the schema for programs that know them
	for file, property := range map[string]string{"sets": "state", "graphs": "role"} {
		schema, err := os.ReadFile("../../docs/schema/" + file + ".json")
		if err != nil {
			t.Fatal(err)
		}
		lists := regexp.MustCompile(`"`+property+`": \{[^{}]*"enum": \[([^]]*)\]`).FindAllSubmatch(schema, -1)
		if len(lists) == 0 {
			t.Errorf("%s.json has no list of values of %s", file, property)
		}
		for _, list := range lists {
			for _, value := range regexp.MustCompile(`"(\w+)"`).FindAllSubmatch(list[1], -1) {
				if word := string(value[1]); !terms[word] && !slices.Contains(neverPrinted, word) {
					t.Errorf("the %s %s is not in the glossary", property, word)
				}
			}
		}
	}
}
