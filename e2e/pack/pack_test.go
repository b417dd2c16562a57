package pack

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	skip(t)
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
	follow(t, vm.Kernels[0], 256<<20, "testdata/install.sh", old["dmsnap_1.0.0_amd64.deb"], newer["dmsnap_1.0.1_amd64.deb"],
		old["dmsnap_1.0.0_amd64.rpm"], newer["dmsnap_1.0.1_amd64.rpm"], old["dmsnap-dkms_1.0.0_all.deb"])
}

// skip keeps a test for the runs that have machines and time.
func skip(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_MACHINES") == "" {
		t.Skip("starts a machine: run by e2e test, or with DMSNAP_MACHINES=1")
	}
	if os.Getenv("DMSNAP_FULL") == "" {
		t.Skip("full length only: e2e test --all has it")
	}
}

// TestMachineNewUser has nothing but the package, and does what the README and each quick start say, word for word.
func TestMachineNewUser(t *testing.T) {
	skip(t)
	built, tests := build(t, Options{Source: "../..", Version: "1.0.0", Arches: []string{"amd64"}}), scenarios(t)
	for _, kernel := range vm.Kernels[:2] {
		t.Run(kernel.Name, func(t *testing.T) {
			told(t, follow(t, kernel, 2<<30, "testdata/newuser.sh", built["dmsnap_1.0.0_amd64.deb"], tests))
		})
	}
}

// TestMachineDKMS lets DKMS build the module from its package, with Debian's headers and compiler, and does what the quick start of
// a plain partition says. On one kernel: an emulated compiler takes minutes.
func TestMachineDKMS(t *testing.T) {
	skip(t)
	built, tests := build(t, Options{Source: "../..", Version: "1.0.0", Arches: []string{"amd64"}}), scenarios(t)
	dkms, err := vm.Packages(t.Context(), "dkms")
	if err != nil {
		t.Fatal(err)
	}
	headers, err := vm.Headers(t.Context(), vm.Kernels[0])
	if err != nil {
		t.Fatal(err)
	}
	args := []string{built["dmsnap_1.0.0_amd64.deb"], built["dmsnap-dkms_1.0.0_all.deb"], tests}
	told(t, follow(t, vm.Kernels[0], 2<<30, "testdata/dkms.sh", slices.Concat(args, dkms, headers)...))
}

// TestMachineKernelsOfDKMS has both versions of DKMS that Debian and its derivatives use decide for which kernels the module is
// built. These are stubs, and so is the compiler.
func TestMachineKernelsOfDKMS(t *testing.T) {
	skip(t)
	sources, err := filepath.Abs("../../kernel")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{sources}
	for _, suite := range []string{"bookworm", "trixie"} {
		dkms, err := vm.PackageOf(t.Context(), suite, "dkms")
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, dkms)
	}
	if said := follow(t, vm.Kernels[0], 64<<20, "testdata/dkmskernels.sh", args...); strings.Count(said, "as wanted") != len(args)-1 {
		t.Error(said)
	}
}

// scenarios compiles the tests that follow the pages.
func scenarios(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "scenarios.test")
	compile := exec.Command("go", "test", "-c", "-o", binary, "../scenarios")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// told logs what of a script's words is worth reading when all went well.
func told(t *testing.T, said string) {
	t.Helper()
	for line := range strings.Lines(said) {
		if strings.Contains(line, "--- ") || strings.HasPrefix(line, "dm-interpose/") || strings.HasPrefix(line, "seconds ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// follow runs a script in a machine with two disks, and returns what it said. The guest sees the host's files.
func follow(t *testing.T, kernel vm.Kernel, diskSize int64, script string, args ...string) string {
	t.Helper()
	script, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := vm.Start(t.Context(), vm.Options{Kernel: kernel, Udev: true, Disks: []vm.Disk{{Size: diskSize}, {Size: diskSize}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(machine.Kill)
	var said bytes.Buffer
	result, err := machine.Run(t.Context(), vm.Command{
		Path: "/bin/sh", Args: append([]string{script}, args...), Stdout: &said, Stderr: &said, Leaks: true,
	})
	if err != nil || result.ExitCode != 0 || len(result.Leaks)+len(result.Troubles) > 0 {
		t.Errorf("%+v, %v\n%s", result, err, strings.TrimSpace(said.String()))
	}
	if err := machine.Close(); err != nil {
		t.Error(err)
	}
	return said.String()
}
