package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dmsnap/dmsnap/e2e/internal/results"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// testFlags say how much to test.
type testFlags struct {
	guestFlags
	run       string
	short     bool
	verbose   bool
	all       bool
	guestOnly bool
	patterns  []string
}

func parseTest(args []string) (*testFlags, error) {
	f := &testFlags{guestFlags: guestFlags{timeout: 85 * time.Minute, udev: true, module: true}}
	set := flag.NewFlagSet("e2e test", flag.ContinueOnError)
	f.register(set)
	set.StringVar(&f.run, "run", "", "only tests that match, as of go test")
	set.BoolVar(&f.short, "short", false, "as of go test")
	set.BoolVar(&f.verbose, "v", false, "show what tests on real kernels log when they pass, too")
	set.BoolVar(&f.all, "all", false, "every kernel of the matrix, and every test at its full length: hours")
	set.BoolVar(&f.guestOnly, "guest-only", false, "only the tests on real kernels")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if f.all {
		f.takeAll()
	}
	if f.patterns = set.Args(); len(f.patterns) == 0 {
		f.patterns = []string{"./..."}
	}
	if len(f.disks) == 0 {
		f.disks = testDisks()
	}
	return f, nil
}

// takeAll widens the limits and the matrix. What the command line names stays.
func (f *testFlags) takeAll() {
	f.timeout *= 6
	if len(f.kernels) == 0 {
		f.kernels = vm.KernelsOf(vm.Long)
	}
}

// runTest checks everything, goes on after failures, and ends with a table and the totals.
func runTest(ctx context.Context, args []string) error {
	flags, err := parseTest(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, flags.timeout, fmt.Errorf("the whole run took more than %v", flags.timeout))
	defer cancel()
	if err := installPackages(ctx, flags.packages()...); err != nil {
		return err
	}
	var summary results.Summary
	if !flags.guestOnly {
		summary.Others = append(summary.Others, lint(ctx), hostTests(ctx, "race", flags, "-race", "-short"), crossBuilds(ctx))
		summary.Host = hostTests(ctx, "host", flags)
	}
	if err := guestTests(ctx, flags, &summary); err != nil {
		return err
	}
	if !flags.guestOnly && flags.run == "" {
		summary.Guests = append(summary.Guests, machineTests(ctx, flags))
	}
	if err := summary.Print(os.Stdout); err != nil {
		return err
	}
	if summary.Failed() > 0 {
		return exitStatus(1)
	}
	return nil
}

// runLint runs only the checks that need no test.
func runLint(ctx context.Context, _ []string) error {
	if lint(ctx).Failures() > 0 {
		return exitStatus(1)
	}
	return nil
}

// timed begins a stage; the returned function ends it.
func timed(name string, policy results.Policy) (stage *results.Stage, end func()) {
	fmt.Printf("== %s\n", name)
	start := time.Now()
	stage = results.NewStage(name, os.Stdout, policy)
	return stage, func() { stage.Time = time.Since(start) }
}

// readEvents hands a stage what write produces.
func readEvents(stage *results.Stage, write func(w io.Writer) error) error {
	reader, writer := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := stage.Read(reader)
		reader.CloseWithError(err) // so that a writer does not wait for a reader that gave up
		read <- err
	}()
	err := write(writer)
	writer.Close()
	return errors.Join(err, <-read)
}
