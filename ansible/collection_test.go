// Package ansible_test runs the tests of the Ansible collection: its modules against a dmsnap without a kernel.
package ansible_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// collections is layOut for tests that need no kernel.
func collections(t *testing.T) string {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: it says nothing about the kernel it runs on")
	}
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Skip("host only: there is no ansible")
	}
	return layOut(t)
}

// layOut makes this directory a collection where Ansible looks for it.
func layOut(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "ansible_collections", "dmsnap"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(here, filepath.Join(root, "ansible_collections", "dmsnap", "dmsnap")); err != nil {
		t.Fatal(err)
	}
	return root
}

func run(t *testing.T, root string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = filepath.Join(root, "ansible_collections", "dmsnap", "dmsnap")
	cmd.Env = environment(t, root)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// environment keeps Ansible in directories of the test, and in a time zone that hosts need not share.
func environment(t *testing.T, root string) []string {
	t.Helper()
	return append(os.Environ(),
		"PYTHONPATH="+root, "PYTHONDONTWRITEBYTECODE=1", "ANSIBLE_COLLECTIONS_PATH="+root, "ANSIBLE_HOME="+t.TempDir(),
		"ANSIBLE_LOCAL_TEMP="+t.TempDir(), "ANSIBLE_REMOTE_TEMP="+t.TempDir(), "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8",
		"TZ=Asia/Kolkata")
}

// python is the interpreter that has Ansible.
func python(t *testing.T, root string) string {
	t.Helper()
	m := regexp.MustCompile(`python version = .*\((/[^)]+)\)`).FindStringSubmatch(run(t, root, "ansible", "--version"))
	if m == nil {
		return "python3"
	}
	return m[1]
}

func TestModules(t *testing.T) {
	root := collections(t)
	run(t, root, python(t, root), "-m", "unittest", "discover", "-s", "tests/unit")
}

// TestDocumentation: every module has documentation that Ansible renders, with each option that the module takes.
func TestDocumentation(t *testing.T) {
	root := collections(t)
	modules, err := filepath.Glob("plugins/modules/*.py")
	if err != nil || len(modules) == 0 {
		t.Fatal(modules, err)
	}
	for _, file := range modules {
		name := strings.TrimSuffix(filepath.Base(file), ".py")
		doc := run(t, root, "ansible-doc", "-t", "module", "dmsnap.dmsnap."+name)
		for _, want := range []string{"EXAMPLES:", "RETURN VALUES:"} {
			if !strings.Contains(doc, want) {
				t.Errorf("%s: no %s", name, want)
			}
		}
		for _, option := range options(t, file) {
			if !regexp.MustCompile(`(?m)^[-=] ` + option + `$`).MatchString(doc) {
				t.Errorf("%s: nothing about %s", name, option)
			}
		}
	}
}

// TestSanity: what Ansible asks of every collection, as far as it can be asked without downloads.
func TestSanity(t *testing.T) {
	collections(t)
	root := t.TempDir()
	// A copy: ansible-test wants to stand in the directory, and not in what links to it.
	if err := os.CopyFS(filepath.Join(root, "ansible_collections", "dmsnap", "dmsnap"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	version := run(t, root, python(t, root), "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
	args := []string{"sanity", "--exclude", "tests/", "--python", strings.TrimSpace(version)}
	for _, name := range []string{
		"action-plugin-docs", "compile", "empty-init", "future-import-boilerplate", "ignores", "line-endings", "metaclass-boilerplate",
		"no-assert", "no-basestring", "no-dict-iteritems", "no-dict-iterkeys", "no-dict-itervalues", "no-get-exception",
		"no-illegal-filenames", "no-main-display", "no-smart-quotes", "no-unicode-literals", "replace-urlopen", "shebang",
		"symlinks", "use-argspec-type-path", "use-compat-six",
	} {
		args = append(args, "--test", name)
	}
	run(t, root, "ansible-test", args...)
}

// options are the arguments that a module and what it shares declare.
func options(t *testing.T, file string) (all []string) {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	module, shared := read(file), read("plugins/module_utils/dmsnap.py")
	for _, group := range []string{"COMMON_ARGUMENTS", "CREATE_ARGUMENTS"} {
		if strings.Contains(module, group) {
			_, text, _ := strings.Cut(shared, group+" = dict(\n")
			text, _, _ = strings.Cut(text, "\n)\n")
			module += text
		}
	}
	for _, m := range regexp.MustCompile(`\b(\w+)=dict\(type=`).FindAllStringSubmatch(module, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestPlays reads every play and role; the whole fleet cut, with hosts that fail on purpose, takes a minute.
func TestPlays(t *testing.T) {
	root := collections(t)
	args := []string{"-i", "tests/integration/inventory.yml", "-e", "work=" + t.TempDir(), "tests/integration/fleet.yml"}
	if !lab.Full() {
		args = append(args, "--syntax-check")
	}
	run(t, root, "ansible-playbook", args...)
}
