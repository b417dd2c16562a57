package docs_test

import (
	"bytes"
	"encoding/json"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is one page of documentation; its name is relative to the root of the
// module.
type page struct{ name, text string }

const root = ".."

func pages(t *testing.T) []page {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: reads the sources")
	}
	names, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(names) < 5 {
		t.Fatal(names, err)
	}
	decisions, err := filepath.Glob(root + "/docs/adr/*.md")
	if err != nil || len(decisions) < 5 {
		t.Fatal(decisions, err)
	}
	recipes, err := filepath.Glob(root + "/docs/recipes/*.md")
	if err != nil || len(recipes) < 5 {
		t.Fatal(recipes, err)
	}
	names = slices.Concat(names, decisions, recipes)
	var all []page
	for _, name := range append(names, root+"/README.md", root+"/CONTRIBUTING.md", root+"/CHANGELOG.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page{filepath.ToSlash(strings.TrimPrefix(name, root+"/")), string(text)})
	}
	return all
}

// blocks are the fenced blocks of a language, "" for the indented ones.
func (p page) blocks(language string) []string {
	var all []string
	var now strings.Builder
	inside, wanted := false, false
	for line := range strings.Lines(p.text) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside, wanted = !inside, !inside && strings.TrimSpace(line[3:]) == language
		case inside && wanted:
			now.WriteString(line)
			continue
		case !inside && language == "" && strings.HasPrefix(line, "    "):
			now.WriteString(line[4:])
			continue
		}
		if now.Len() > 0 {
			all = append(all, now.String())
			now.Reset()
		}
	}
	if now.Len() > 0 {
		all = append(all, now.String())
	}
	return all
}

// prose is a page without its blocks.
func (p page) prose() string {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(p.text) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside
		case !inside && !strings.HasPrefix(line, "    "):
			b.WriteString(line)
		}
	}
	return b.String()
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchors   = regexp.MustCompile("[^a-z0-9 _-]")
)

// anchors are the names by which a page's headings can be linked to.
func (p page) anchors() []string {
	var all []string
	for _, m := range headingPattern.FindAllStringSubmatch(p.prose(), -1) {
		clean := notInAnchors.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(clean, " ", "-"))
	}
	return all
}

func TestLinks(t *testing.T) {
	all := pages(t)
	byName := map[string]page{}
	for _, p := range all {
		byName[p.name] = p
	}
	for _, p := range all {
		for _, m := range linkPattern.FindAllStringSubmatch(p.prose(), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			name := p.name
			if file != "" {
				name = path.Join(path.Dir(p.name), file)
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: link to %s: %v", p.name, m[1], err)
			}
			if anchor != "" && !slices.Contains(byName[name].anchors(), anchor) {
				t.Errorf("%s: link to %s: no such heading", p.name, m[1])
			}
		}
	}
}

// pathPattern matches files and directories of ours, by their top directory.
var (
	pathPattern = regexp.MustCompile("`((?:cmd|dm|targets|freeze|ioctl|e2e|docs)/[\\w./-]*)`")
	goFile      = regexp.MustCompile(`[\w.-]+/[\w./-]+\.go\b`)
)

func TestPaths(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range pathPattern.FindAllStringSubmatch(p.prose(), -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
		for _, name := range goFile.FindAllString(p.prose(), -1) {
			if strings.HasPrefix(name, "github.com/") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
	}
}

// TestNamedTestsExist looks for the tests that pages give as evidence. What
// stands after a slash is a subtest: its name is a string in a file of the same
// directory.
func TestNamedTestsExist(t *testing.T) {
	pattern := regexp.MustCompile("`(Test[A-Z]\\w*|Fuzz[A-Z]\\w*)(?:/([^`]+))?`")
	all := pages(t)
	sources := sourcesByDir(t)
	for _, p := range all {
		for _, m := range pattern.FindAllStringSubmatch(p.text, -1) {
			if !evidence(sources, m[1], strings.ReplaceAll(m[2], "_", " ")) {
				t.Errorf("%s: there is no %s", p.name, m[0])
			}
		}
	}
}

func evidence(sources map[string]string, function, subtest string) bool {
	for _, text := range sources {
		if strings.Contains(text, "func "+function+"(") && (subtest == "" || strings.Contains(text, `"`+subtest+`"`)) {
			return true
		}
	}
	return false
}

// sourcesByDir joins the Go files of each directory.
func sourcesByDir(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		text, err := os.ReadFile(name)
		all[filepath.Dir(name)] += string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestGoCode compiles every Go block of the README as a command of the module,
// and holds it to the common format.
func TestGoCode(t *testing.T) {
	for _, p := range pages(t) {
		for _, code := range p.blocks("go") {
			formatted, err := format.Source([]byte(code))
			if err != nil || !bytes.Equal(formatted, []byte(code)) {
				t.Errorf("%s: not formatted: %v\n%s", p.name, err, code)
			}
			if out, err := compile(t, code); err != nil {
				t.Errorf("%s: %v\n%s", p.name, err, out)
			}
		}
	}
}

// compile lays the code over a directory that does not exist.
func compile(t *testing.T, code string) ([]byte, error) {
	t.Helper()
	absolute, err := filepath.Abs(filepath.Join(root, "docs", "example", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{absolute: file}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", filepath.Join(dir, "example"), "./docs/example")
	cmd.Dir = root
	return cmd.CombinedOutput()
}

// TestCommandLines has the command itself read every command line of ours in
// the blocks, with --help behind it: commands, flags and the number of
// arguments are looked at before the help is printed, and nothing is opened.
// Values and missing arguments are not looked at; package main's own tests do
// that for the examples in the help texts.
func TestCommandLines(t *testing.T) {
	all := pages(t)
	binary := filepath.Join(t.TempDir(), "dmsnap")
	if out, err := exec.Command("go", "build", "-o", binary, root+"/cmd/dmsnap").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := 0
	for _, p := range all {
		for _, block := range slices.Concat(p.blocks(""), p.blocks("sh"), p.blocks("console")) {
			for line := range strings.Lines(block) {
				args, ours := commandLine(line)
				if !ours {
					continue
				}
				seen++
				if i := slices.Index(args, "--"); i >= 0 { // what follows is another program's
					args = args[:i]
				}
				out, err := exec.Command(binary, append(args, "--help")...).CombinedOutput()
				if err != nil {
					t.Errorf("%s: %s: %v\n%s", p.name, strings.TrimSpace(line), err, out)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d command lines", seen)
	}
}

// commandLine takes a line of a shell apart as far as these pages need it: what
// follows a comment, a pipe or another command is not ours.
func commandLine(line string) (args []string, ours bool) {
	line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
	line = strings.TrimPrefix(line, "sudo ")
	rest, found := strings.CutPrefix(line, "dmsnap ")
	if !found || synopsis.MatchString(rest) {
		return nil, false
	}
	for _, end := range []string{" #", " |", " >", " &&", ";"} {
		rest, _, _ = strings.Cut(rest, end)
	}
	for _, word := range strings.Fields(rest) {
		args = append(args, strings.Trim(word, `"'`))
	}
	return args, true
}

// synopsis matches an explanation in columns, "create ORIGIN...     cut a set".
var synopsis = regexp.MustCompile(`\S {3,}[a-z]`)

// unfit is what a page must not have: places of a machine, and what is to be done.
var unfit = regexp.MustCompile(`/root/|\blocal.?host\b|\b(TO|FIX)(DO|ME)\b`)

// TestPagesAreForEverybody: no page tells of the machine it was written on.
func TestPagesAreForEverybody(t *testing.T) {
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages(t) {
		words := unfit.FindAllString(p.text, -1)
		if !strings.Contains(p.text, "```go") && strings.Contains(p.text, "\t") {
			words = append(words, "\t")
		}
		if strings.Contains(p.text, here+"/") {
			words = append(words, here)
		}
		for _, word := range words {
			t.Errorf("%s: %q", p.name, word)
		}
	}
}
