package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"time"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// runDemo shows the tool at work on a real kernel: the program of guest/demo, with the dmsnap of this tree.
func runDemo(ctx context.Context, args []string) error {
	g := &guestFlags{timeout: 15 * time.Minute, udev: true}
	set := flag.NewFlagSet("e2e demo", flag.ContinueOnError)
	g.register(set)
	if err := set.Parse(args); err != nil {
		return err
	}
	if len(g.disks) == 0 {
		g.disks = testDisks()[:4]
	}
	if err := installPackages(ctx); err != nil {
		return err
	}
	dir, err := workDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, program := range []string{"cmd/dmsnap", "e2e/guest/demo"} {
		if err := build(ctx, "build", "-o", filepath.Join(dir, filepath.Base(program)), "./"+program); err != nil {
			return err
		}
	}
	kernel, err := g.kernel()
	if err != nil {
		return err
	}
	return inGuest(ctx, g, vm.Command{
		Path: filepath.Join(dir, "demo"),
		Env:  []string{"DMSNAP_BIN=" + filepath.Join(dir, "dmsnap"), "DMSNAP_DISKS=" + diskList(g.options(kernel))},
	})
}
