package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/internal/results"
)

const toolsMod = "-modfile=e2e/tools/go.mod"

// crossTargets cover both byte orders and both word sizes. The vetted ones differ most from the host in what a
// compiler alone does not see.
var crossTargets = []struct {
	arch string
	vet  bool
}{{"arm64", true}, {"386", true}, {"arm", false}, {"riscv64", false}, {"s390x", false}, {"amd64", false}}

// lint runs what reads the sources only.
func lint(ctx context.Context) *results.Stage {
	stage, end := timed("lint", results.Policy{})
	defer end()
	check := func(name string, args ...string) {
		if err := runQuiet(ctx, nil, "go", args...); err != nil {
			stage.Problem("%s: %v", name, err)
		}
	}
	check("vet", "vet", "./...")
	if err := checkFormat(ctx); err != nil {
		stage.Problem("gofumpt: %v", err)
	}
	check("staticcheck", "tool", toolsMod, "staticcheck", "./...")
	return stage
}

// checkFormat fails if the formatter names a file.
func checkFormat(ctx context.Context) error {
	var stderr bytes.Buffer // not looked at if all went well: where nothing was ever fetched, Go tells there what it downloads
	list := exec.CommandContext(ctx, "go", "tool", toolsMod, "gofumpt", "-l", ".")
	list.Stderr = &stderr
	text, err := list.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, stderr.String())
	}
	if len(text) > 0 {
		return fmt.Errorf("these files are not formatted:\n%s", text)
	}
	return nil
}

// hostTests runs the tests as anybody would, without a guest.
func hostTests(ctx context.Context, name string, flags *testFlags, more ...string) *results.Stage {
	stage, end := timed(name, results.Policy{})
	defer end()
	args := append([]string{"-timeout=25m"}, more...)
	if flags.run != "" {
		args = append(args, "-run="+flags.run)
	}
	if flags.short {
		args = append(args, "-short")
	}
	goTest(ctx, stage, nil, append(args, flags.patterns...)...)
	return stage
}

// machineTests runs the tests that start machines themselves, for example to cut their power. One at a time: a guest
// takes all processors.
func machineTests(ctx context.Context, flags *testFlags) *results.Stage {
	stage, end := timed("machines", results.Policy{EachTest: true, Skips: []string{"full length only:"}})
	defer end()
	limit := 15 * time.Minute
	if flags.all {
		limit *= 6
	}
	args := []string{"-timeout=" + limit.String(), "-p=1", "-parallel=1", "-run=^TestMachine"}
	if flags.short {
		args = append(args, "-short")
	}
	goTest(ctx, stage, append(flags.env(), "DMSNAP_MACHINES=1"), append(args, "./e2e/...")...)
	return stage
}

// goTest runs `go test` and lets the stage follow it.
func goTest(ctx context.Context, stage *results.Stage, env []string, args ...string) {
	var stderr bytes.Buffer
	err := readEvents(stage, func(w io.Writer) error {
		cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
		cmd.Stdout, cmd.Stderr = w, &stderr
		cmd.Env = append(os.Environ(), env...)
		return cmd.Run()
	})
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || stage.Failures() == 0) {
		stage.Problem("go test: %v: %s", err, strings.TrimSpace(stderr.String()))
	}
}

// crossBuilds compiles everything for the processors we cannot test on.
func crossBuilds(ctx context.Context) *results.Stage {
	stage, end := timed("cross builds", results.Policy{})
	defer end()
	for _, target := range crossTargets {
		verb := "build"
		if target.vet {
			verb = "vet" // compiles too, and the tests as well
		}
		if err := runQuiet(ctx, []string{"CGO_ENABLED=0", "GOARCH=" + target.arch}, "go", verb, "./..."); err != nil {
			stage.Problem("%s: %v", target.arch, err)
		}
	}
	return stage
}
