package main

import (
	"context"
	"fmt"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// runFetch takes from the network what `e2e test` with the same flags needs, and no more. By itself it can be tried again when a
// mirror fails.
func runFetch(ctx context.Context, args []string) error {
	flags, err := parseTest(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, flags.timeout, fmt.Errorf("fetching took more than %v", flags.timeout))
	defer cancel()
	if err := installPackages(ctx, flags.packages()...); err != nil {
		return err
	}
	for _, kernel := range flags.matrix() {
		if _, err := vm.Fetch(ctx, kernel); err != nil {
			return err
		}
		if _, err := vm.Programs(ctx, kernel); err != nil {
			return err
		}
		if flags.module {
			if _, err := vm.Module(ctx, kernel); err != nil {
				return err
			}
		}
	}
	if !flags.all {
		return nil
	}
	if _, err := vm.Packages(ctx, serverPackages...); err != nil {
		return err
	}
	_, err = vm.Userland(ctx)
	return err
}
