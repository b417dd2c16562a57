// Command e2e runs things on real kernels, in virtual machines, never against the host:
//
//	e2e test     everything the project checks, on every kernel of the matrix
//	e2e fetch    what test takes from the network, beforehand
//	e2e exec     one program, for example as `go test -exec "go run github.com/dmsnap/dmsnap/e2e exec" ./dm`
//	e2e shell    one shell command line
//	e2e demo     the guided tour
//	e2e bench    figures
//	e2e package  what users install: static binaries, deb and rpm
//	e2e torture  the tool and the machine ended at every step, and at random; docs/torture.md
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// exitHarness is the status for a failure of the harness, as opposed to one of the program in the guest.
const exitHarness = 125

var subcommands = map[string]func(ctx context.Context, args []string) error{
	"exec":    runExec,
	"shell":   runShell,
	"test":    runTest,
	"lint":    runLint,
	"fetch":   runFetch,
	"demo":    runDemo,
	"bench":   runBench,
	"package": runPackage,
	"torture": runTorture,
}

// exitStatus ends the program with a status and no message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := dispatch(ctx, os.Args[1:])
	stop()
	var status exitStatus
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(int(status))
	default:
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(exitHarness)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if run, found := subcommands[args[0]]; found {
			return run(ctx, args[1:])
		}
	}
	names := slices.Sorted(maps.Keys(subcommands))
	return fmt.Errorf("usage: e2e %s [FLAGS] [ARGS]", strings.Join(names, "|"))
}
