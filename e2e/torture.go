package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/dmsnap/dmsnap/e2e/internal/results"
	"github.com/dmsnap/dmsnap/e2e/internal/torture"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// tortureFlags say where the tool is ended.
type tortureFlags struct {
	guestFlags
	run  string
	page string
	from []string // logs of runs there were already, instead of new ones
}

func parseTorture(args []string) (*tortureFlags, error) {
	f := &tortureFlags{guestFlags: guestFlags{timeout: 6 * time.Hour, udev: true, module: true}}
	set := flag.NewFlagSet("e2e torture", flag.ContinueOnError)
	f.register(set)
	set.StringVar(&f.run, "run", "", "only tests that match, as of go test: no power is cut and no page written")
	set.StringVar(&f.page, "page", "docs/torture.md", "file for the tables")
	set.Func("from", "NAME=LOG of a run there was already; repeatable; nothing is run then", func(text string) error {
		f.from = append(f.from, text)
		return nil
	})
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if len(f.disks) == 0 {
		f.disks = testDisks()
	}
	return f, nil
}

// runTorture ends the tool in every way at every step on every kernel, and the machine at random moments, then writes what
// became of it.
func runTorture(ctx context.Context, args []string) error {
	f, err := parseTorture(args)
	if err != nil {
		return err
	}
	var page torture.Page
	if len(f.from) > 0 {
		if err := page.ReadLogs(f.from); err != nil {
			return err
		}
		return os.WriteFile(f.page, page.Text(), 0o644)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("more than %v", f.timeout))
	defer cancel()
	if err := installPackages(ctx, f.packages()...); err != nil {
		return err
	}
	dir, err := workDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "dm.test")
	if err := build(ctx, runtime.GOARCH, "test", "-c", "-o", binary, "./dm"); err != nil {
		return err
	}
	for _, kernel := range f.matrix() {
		log, err := f.torment(ctx, kernel, binary)
		if err != nil {
			return err
		}
		if err := page.Add(kernel.Name, log); err != nil {
			return err
		}
	}
	if f.run != "" {
		return nil
	}
	if err := cutPower(ctx); err != nil {
		return err
	}
	return os.WriteFile(f.page, page.Text(), 0o644)
}

// torment runs the torture tests of dm at their full length on one kernel.
func (f *tortureFlags) torment(ctx context.Context, kernel vm.Kernel, binary string) (io.Reader, error) {
	options := f.options(kernel)
	env := []string{"DMSNAP_FULL=1", "DMSNAP_DISKS=" + diskList(options)}
	if f.module {
		module, err := vm.Module(ctx, kernel)
		if err != nil {
			return nil, err
		}
		env = append(env, "DMSNAP_MODULE="+module)
	}
	machine, err := vm.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	defer machine.Kill()
	var log bytes.Buffer
	result, err := machine.Run(ctx, vm.Command{
		Path: binary, Args: []string{"-test.run=" + cmp.Or(f.run, "^TestTorture"), "-test.v", "-test.timeout=0"}, Leaks: true,
		Env:    env,
		Stdout: io.MultiWriter(os.Stdout, &log), Stderr: os.Stderr,
	})
	for _, line := range append(result.Leaks, result.Troubles...) {
		err = errors.Join(err, fmt.Errorf("kernel %s: %s", kernel.Name, line))
	}
	if err == nil && result.ExitCode != 0 {
		err = exitStatus(result.ExitCode)
	}
	return &log, err
}

// cutPower runs the tests that start machines and end them at random moments.
func cutPower(ctx context.Context) error {
	stage, end := timed("power cuts", results.Policy{EachTest: true, Skips: []string{}})
	defer end()
	goTest(ctx, stage, []string{"DMSNAP_MACHINES=1", "DMSNAP_FULL=1"}, "-timeout=0", "-run=^TestMachineTorture", "./e2e/...")
	if stage.Failures() > 0 {
		return exitStatus(1)
	}
	return nil
}
