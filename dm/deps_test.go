package dm

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependencies compares what the library pulls in with what its guide says,
// and refuses cgo.
func TestDependencies(t *testing.T) {
	hostOnly(t)
	const format = "{{if .CgoFiles}}cgo in {{.ImportPath}}\n{{end}}{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}"
	cmd := exec.Command("go", "list", "-deps", "-f", format, ".")
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	used := strings.Fields(string(out))
	slices.Sort(used)
	used = slices.Compact(used)

	guide, err := os.ReadFile("../docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(guide), "\n## Dependencies\n")
	var named []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
		named = append(named, m[1])
	}
	slices.Sort(named)
	if !slices.Equal(used, named) {
		t.Errorf("go list names %v, docs/library.md %v", used, named)
	}
}
