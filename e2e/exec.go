package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// runExec runs a program of the host in a guest, in the same working directory, and ends as it does.
func runExec(ctx context.Context, args []string) error {
	g, args, err := parseGuest("exec", args)
	if err != nil {
		return err
	}
	path, err := programPath(args[0])
	if err != nil {
		return err
	}
	return inGuest(ctx, g, vm.Command{Path: path, Args: args[1:]})
}

// runShell runs a command line in a guest.
func runShell(ctx context.Context, args []string) error {
	g, args, err := parseGuest("shell", args)
	if err != nil {
		return err
	}
	return inGuest(ctx, g, vm.Command{Path: "/bin/sh", Args: []string{"-c", strings.Join(args, " ")}})
}

func parseGuest(name string, args []string) (*guestFlags, []string, error) {
	g := &guestFlags{timeout: 15 * time.Minute}
	set := flag.NewFlagSet("e2e "+name, flag.ContinueOnError)
	g.register(set)
	if err := set.Parse(args); err != nil {
		return nil, nil, err
	}
	if set.NArg() == 0 {
		return nil, nil, fmt.Errorf("%s: nothing to run", name)
	}
	return g, set.Args(), nil
}

// inGuest boots, runs one command, and reports what the kernel complained about and, if asked, what was left behind.
func inGuest(ctx context.Context, g *guestFlags, command vm.Command) error {
	kernel, err := g.kernel()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.timeout, fmt.Errorf("more than %v", g.timeout))
	defer cancel()
	if g.module {
		module, err := vm.Module(ctx, kernel)
		if err != nil {
			return err
		}
		command.Env = append(command.Env, "DMSNAP_MODULE="+module)
	}
	machine, err := vm.Start(ctx, g.options(kernel))
	if err != nil {
		return err
	}
	command.Env = append(command.Env, passedEnv(os.Environ())...)
	command.Stdout, command.Stderr, command.Leaks = os.Stdout, os.Stderr, g.leaks
	result, err := machine.Run(ctx, command)
	if lines := slices.Concat(result.Troubles, result.Leaks); err == nil && len(lines) > 0 {
		err = errors.New("the guest is not as it was:\n" + strings.Join(lines, "\n"))
	}
	if err = errors.Join(err, machine.Close()); err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return exitStatus(result.ExitCode)
	}
	return nil
}

// passedEnv picks the variables that mean something in the guest. DMSNAP_CACHE is the harness's own.
func passedEnv(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		wanted := strings.HasPrefix(name, "DMSNAP_") && name != "DMSNAP_CACHE"
		return !wanted && name != "GOTRACEBACK" && name != "GODEBUG" && name != "NO_COLOR"
	})
}

func programPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
