package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/dmsnap/dmsnap/"

// layers lists, for each top directory, the packages of ours it may import besides its own. Its tests may also import
// what testOnly lists.
var layers = map[string][]string{
	"cmd":      {"dm", "targets"},
	"dm":       {"freeze", "targets", "ioctl"},
	"docs":     {"dm"},
	"freeze":   {"ioctl"},
	"internal": {},
	"ioctl":    {"internal"},
	"targets":  {"internal"},
	"e2e":      {"cmd", "dm", "docs", "freeze", "targets", "ioctl"},
}

var testOnly = []string{"e2e/lab", "e2e/leak", "ioctl/ioctltest", "dm/dmtest", "docs/schema"}

// fakes is the package outside ioctl that hands its kernel in memory on, to tests of others.
const fakes = "dm/dmtest/"

// homes lists what only some of ours may import, by prefix of the path, and where.
var homes = map[string][]string{
	"unsafe":                           {"ioctl"},
	"github.com/alecthomas/kong":       {"cmd"},
	"github.com/rs/zerolog":            {"cmd"},
	"github.com/moby/sys/mountinfo":    {"dm", "freeze"},
	"github.com/anatol/devmapper.go":   {"dm"},
	"golang.org/x/sys/unix":            {"cmd", "dm", "docs", "freeze", "ioctl", "e2e"},
	"github.com/rogpeppe/go-internal/": {"cmd", "e2e"},
}

// TestImportsGoOneWay reads every source file of the module.
func TestImportsGoOneWay(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: reads the sources")
	}
	devmapper := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if complaint := checkImport(strings.TrimPrefix(path, "../"), imported); complaint != "" {
				t.Error(complaint)
			}
			if strings.HasPrefix(imported, "github.com/anatol/devmapper.go") {
				devmapper[path] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(devmapper) > 1 {
		t.Errorf("devmapper.go is imported by more than one file: %v", devmapper)
	}
}

// checkImport returns what is wrong with the file's import, or nothing.
func checkImport(path, imported string) string {
	top, _, _ := strings.Cut(path, "/")
	isTest := strings.HasSuffix(path, "_test.go")
	for prefix, allowed := range homes {
		if strings.HasPrefix(imported, prefix) && !slices.Contains(allowed, top) {
			return path + " must not import " + imported
		}
	}
	ours, found := strings.CutPrefix(imported, module)
	target, _, _ := strings.Cut(ours, "/")
	switch {
	case ours == "dm/dmtest" && !isTest:
		return path + " must not import " + imported
	case !found, target == top, isTest && slices.Contains(testOnly, ours):
		return ""
	case ours == "ioctl/ioctltest" && strings.HasPrefix(path, fakes):
		return ""
	case ours == "ioctl/ioctltest" && top != "e2e", !slices.Contains(layers[top], target):
		return path + " must not import " + imported
	}
	return ""
}

func TestCheckImport(t *testing.T) {
	for _, c := range []struct {
		path, imported string
		good           bool
	}{
		{"cmd/dmsnap/main.go", module + "dm", true},
		{"cmd/dmsnap/main.go", module + "freeze", false},
		{"cmd/dmsnap/main.go", module + "e2e/leak", false},
		{"cmd/dmsnap/main.go", "github.com/alecthomas/kong", true},
		{"dm/manager.go", "github.com/rs/zerolog/log", false},
		{"dm/manager.go", module + "ioctl", true},
		{"dm/manager.go", module + "ioctl/ioctltest", false},
		{"dm/manager_test.go", module + "ioctl/ioctltest", true},
		{"dm/manager_test.go", module + "e2e/leak", true},
		{"dm/manager_test.go", module + "e2e/vm", false},
		{"dm/create.go", module + "dm/dmtest", false},
		{"dm/dmtest/host.go", module + "ioctl/ioctltest", true},
		{"docs/examples/agent/main.go", module + "dm", true},
		{"docs/examples/agent/main.go", module + "ioctl", false},
		{"docs/examples/agent/main_test.go", module + "dm/dmtest", true},
		{"freeze/set.go", module + "ioctl", true},
		{"freeze/set.go", module + "dm", false},
		{"ioctl/ioctltest/fake.go", module + "ioctl", true},
		{"ioctl/call.go", module + "targets", false},
		{"ioctl/call.go", "unsafe", true},
		{"targets/table.go", "golang.org/x/sys/unix", false},
		{"targets/table.go", "unsafe", false},
		{"e2e/main.go", module + "dm", true},
		{"other/new.go", module + "dm", false},
	} {
		if complaint := checkImport(c.path, c.imported); (complaint == "") != c.good {
			t.Errorf("%s importing %s: %q", c.path, c.imported, complaint)
		}
	}
}
