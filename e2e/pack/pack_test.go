package pack

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

func TestPackageVersion(t *testing.T) {
	for in, want := range map[string]string{
		"v1.2.3":                             "1.2.3",
		"v1.2.3-rc1":                         "1.2.3~rc1",
		"v0.0.0-20261120174311-5d116d492eb5": "0.0.0~20261120174311.5d116d492eb5",
		"v0.0.0-20261120174311-5d116d492eb5+dirty": "0.0.0~20261120174311.5d116d492eb5+dirty",
		"(devel)": "0.0.0",
	} {
		if got := packageVersion(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// build builds, and maps the names of the results to their paths.
func build(t *testing.T, o Options) map[string]string {
	t.Helper()
	o.Dir = t.TempDir()
	files, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		all[filepath.Base(f)] = f
	}
	return all
}

// TestMachinePackages builds the packages in two places, finds no difference, and installs, upgrades and removes them.
func TestMachinePackages(t *testing.T) {
	if os.Getenv("DMSNAP_MACHINES") == "" {
		t.Skip("starts a machine: run by e2e test, or with DMSNAP_MACHINES=1")
	}
	if os.Getenv("DMSNAP_FULL") == "" {
		t.Skip("full length only: e2e test --all has it")
	}
	const root = "../.."
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if out, err := exec.Command("cp", "-a", root, elsewhere).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	old := build(t, Options{Source: root, Version: "1.0.0"})
	again := build(t, Options{Source: elsewhere, Version: "1.0.0"})
	if len(old) != len(again) || len(old) != 2*3+2 {
		t.Fatalf("built %v and %v", old, again)
	}
	for name, path := range old {
		if a, b := sum(t, path), sum(t, again[name]); a != b {
			t.Errorf("%s: built twice, %x and %x", name, a, b)
		}
	}
	newer := build(t, Options{Source: root, Version: "1.0.1", Arches: []string{"amd64"}})
	install(t, old["dmsnap_1.0.0_amd64.deb"], newer["dmsnap_1.0.1_amd64.deb"],
		old["dmsnap_1.0.0_amd64.rpm"], newer["dmsnap_1.0.1_amd64.rpm"], old["dmsnap-dkms_1.0.0_all.deb"])
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// install runs the script in a machine. The guest sees the host's files.
func install(t *testing.T, packages ...string) {
	t.Helper()
	script, err := filepath.Abs("testdata/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	const size = 256 << 20
	machine, err := vm.Start(t.Context(), vm.Options{Udev: true, Disks: []vm.Disk{{Size: size}, {Size: size}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(machine.Kill)
	var said bytes.Buffer
	result, err := machine.Run(t.Context(), vm.Command{
		Path: "/bin/sh", Args: append([]string{script}, packages...), Stdout: &said, Stderr: &said, Leaks: true,
	})
	if err != nil || result.ExitCode != 0 || len(result.Leaks)+len(result.Troubles) > 0 {
		t.Errorf("%+v, %v\n%s", result, err, strings.TrimSpace(said.String()))
	}
	if err := machine.Close(); err != nil {
		t.Error(err)
	}
}
