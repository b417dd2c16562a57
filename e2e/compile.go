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
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/e2e/internal/results"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// binaries is everything compiled for the guests.
type binaries struct {
	packages []testPackage
	dmsnap   string // the command itself, empty if it could not be built
	dmsnap32 string // the same for a processor of 32 bits
	released string // the command as of an older commit, empty if the history does not have that
	tool     string // test2json, for the host
}

type testPackage struct{ path, dir, binary string }

// env tells tests what they have in the guest.
func (b *binaries) env(options vm.Options) []string {
	env := []string{"DMSNAP_DISKS=" + diskList(options)}
	if b.dmsnap != "" {
		env = append(env, "DMSNAP_BIN="+b.dmsnap, "DMSNAP_BIN_386="+b.dmsnap32, "DMSNAP_BIN_OLD="+b.released)
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
		if err := build(ctx, "build", "-o", filepath.Join(dir, filepath.Base(p)), "./"+p); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// compile builds static binaries of all packages with tests, of the command and of test2json. What does not compile
// is left out and is a problem of the stage.
func compile(ctx context.Context, stage *results.Stage, dir string, patterns []string) (*binaries, error) {
	packages, err := listPackages(ctx, patterns)
	if err != nil {
		return nil, err
	}
	for round := 0; ; round++ {
		target := filepath.Join(dir, fmt.Sprint(round)) + "/"
		paths := chooseRound(packages, target)
		if len(paths) == 0 {
			break
		}
		if err := build(ctx, append([]string{"test", "-c", "-o", target}, paths...)...); err != nil {
			stage.Problem("%v", err)
		}
	}
	b := &binaries{packages: slices.DeleteFunc(packages, testPackage.missing), tool: filepath.Join(dir, "test2json")}
	if err := build(ctx, "build", "-o", b.tool, "cmd/test2json"); err != nil {
		return nil, err
	}
	b.dmsnap, b.dmsnap32 = filepath.Join(dir, "dmsnap"), filepath.Join(dir, "dmsnap-386")
	err = errors.Join(
		build(ctx, "build", "-o", b.dmsnap, "./cmd/dmsnap"),
		runQuiet(ctx, []string{"CGO_ENABLED=0", "GOARCH=386"}, "go", "build", "-o", b.dmsnap32, "./cmd/dmsnap"),
	)
	if err != nil {
		stage.Problem("%v", err)
		b.dmsnap = ""
	}
	if b.released, err = buildReleased(ctx); err != nil {
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

func build(ctx context.Context, args ...string) error {
	return runQuiet(ctx, []string{"CGO_ENABLED=0"}, "go", args...)
}

// listPackages finds the packages whose tests ask for a guest. The others say nothing about a kernel, and an emulated
// processor is slow.
func listPackages(ctx context.Context, patterns []string) ([]testPackage, error) {
	const format = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}"
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-f", format}, patterns...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
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
