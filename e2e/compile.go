package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/e2e/internal/results"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// binaries is everything compiled for the guests.
type binaries struct {
	packages []testPackage
	dmsnap   string // the command itself, empty if it could not be built
	dmsnap32 string // the same for programs of 32 bits
	released string // the command as of an older commit, empty if the history does not have that
	tool     string // test2json, for the host
}

type testPackage struct{ path, dir, binary string }

// env tells tests what they have in the guest.
func (b *binaries) env(options vm.Options) []string {
	env := []string{"DMSNAP_DISKS=" + diskList(options)}
	if b.dmsnap != "" {
		env = append(env, "DMSNAP_BIN="+b.dmsnap, "DMSNAP_BIN_32="+b.dmsnap32, "DMSNAP_BIN_OLD="+b.released)
	}
	return env
}

// workDir makes a directory that the guest can see: not on /run or /dev, which it has of its own.
func workDir() (string, error) {
	cache, err := vm.CacheDir()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(cache, "test-")
}

// programDir is a new directory with dmsnap and a program for the guest; the host gets what running them takes.
func programDir(ctx context.Context, program string) (string, error) {
	if err := installPackages(ctx); err != nil {
		return "", err
	}
	dir, err := workDir()
	if err != nil {
		return "", err
	}
	for _, p := range []string{"cmd/dmsnap", program} {
		if err := build(ctx, runtime.GOARCH, "build", "-o", filepath.Join(dir, filepath.Base(p)), "./"+p); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// narrow is the processor whose programs of 32 bits a kernel runs, too.
var narrow = map[string]string{"amd64": "386", "arm64": "arm"}

// compileAll compiles for each processor that the kernels are for.
func compileAll(ctx context.Context, dir string, kernels []vm.Kernel, patterns []string, stage *results.Stage) (map[string]*binaries, error) {
	all := map[string]*binaries{}
	for _, kernel := range kernels {
		arch := kernel.Arch()
		if all[arch] != nil {
			continue
		}
		var err error
		if all[arch], err = compile(ctx, stage, filepath.Join(dir, arch), arch, patterns); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// compile builds static binaries of all packages with tests, of the command and of test2json. What does not compile
// is left out and is a problem of the stage.
func compile(ctx context.Context, stage *results.Stage, dir, arch string, patterns []string) (*binaries, error) {
	packages, err := listPackages(ctx, arch, patterns)
	if err != nil {
		return nil, err
	}
	for round := 0; ; round++ {
		target := filepath.Join(dir, fmt.Sprint(round)) + "/"
		paths := chooseRound(packages, target)
		if len(paths) == 0 {
			break
		}
		if err := build(ctx, arch, append([]string{"test", "-c", "-o", target}, paths...)...); err != nil {
			stage.Problem("%v", err)
		}
	}
	b := &binaries{packages: slices.DeleteFunc(packages, testPackage.missing), tool: filepath.Join(dir, "test2json")}
	if err := build(ctx, runtime.GOARCH, "build", "-o", b.tool, "cmd/test2json"); err != nil {
		return nil, err
	}
	b.dmsnap, b.dmsnap32 = filepath.Join(dir, "dmsnap"), filepath.Join(dir, "dmsnap-32")
	err = errors.Join(
		build(ctx, arch, "build", "-o", b.dmsnap, "./cmd/dmsnap"),
		build(ctx, narrow[arch], "build", "-o", b.dmsnap32, "./cmd/dmsnap"),
	)
	if err != nil {
		stage.Problem("%v", err)
		b.dmsnap = ""
	}
	if b.released, err = buildReleased(ctx, arch); err != nil {
		stage.Problem("%v", err)
	}
	return b, nil
}

// chooseRound gives packages without a binary one below target. `go test -c` names binaries by the last element of
// the path: packages that share it go into different rounds.
func chooseRound(packages []testPackage, target string) (paths []string) {
	taken := map[string]bool{}
	for i, pkg := range packages {
		if name := path.Base(pkg.path); pkg.binary == "" && !taken[name] {
			taken[name] = true
			packages[i].binary = target + name + ".test"
			paths = append(paths, pkg.path)
		}
	}
	return paths
}

func (p testPackage) missing() bool {
	_, err := os.Stat(p.binary)
	return err != nil
}

func build(ctx context.Context, arch string, args ...string) error {
	return runQuiet(ctx, []string{"CGO_ENABLED=0", "GOARCH=" + arch}, "go", args...)
}

// listPackages finds the packages whose tests ask for a guest. The others say nothing about a kernel, and an emulated
// processor is slow.
func listPackages(ctx context.Context, arch string, patterns []string) ([]testPackage, error) {
	const format = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}"
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-f", format}, patterns...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []testPackage
	for line := range strings.Lines(string(text)) {
		path, dir, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found {
			continue
		}
		asks, err := asksForGuest(dir)
		if err != nil {
			return nil, err
		}
		if asks {
			packages = append(packages, testPackage{path: path, dir: dir})
		}
	}
	return packages, nil
}

// asksForGuest tells whether a test of a package looks whether it is in a guest.
func asksForGuest(dir string) (bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return false, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		if bytes.Contains(text, []byte("DMSNAP_E2E")) || bytes.Contains(text, []byte("lab.Need(")) {
			return true, nil
		}
	}
	return false, nil
}
