package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// runBenchInterpose measures what the layer of a plain partition costs its writers.
func runBenchInterpose(ctx context.Context, args []string) error {
	g := &guestFlags{timeout: 60 * time.Minute, udev: true, module: true}
	set := flag.NewFlagSet("e2e bench interpose", flag.ContinueOnError)
	g.register(set)
	rounds := set.Int("rounds", 7, "measurements of each kind")
	if err := set.Parse(args); err != nil {
		return err
	}
	if len(g.disks) == 0 {
		g.disks = []vm.Disk{{Size: 2 << 30}, {Size: 2 << 30}}
	}
	if err := installPackages(ctx); err != nil {
		return err
	}
	dir, err := workDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, program := range []string{"cmd/dmsnap", "e2e/guest/interposebench"} {
		if err := build(ctx, "build", "-o", filepath.Join(dir, filepath.Base(program)), "./"+program); err != nil {
			return err
		}
	}
	kernel, err := g.kernel()
	if err != nil {
		return err
	}
	fmt.Printf("kernel %s, %d rounds in turn; load of the host: %s\n", kernel.Name, *rounds, hostLoad())
	return inGuest(ctx, g, vm.Command{
		Path: filepath.Join(dir, "interposebench"), Args: []string{"-rounds", strconv.Itoa(*rounds)},
		Env: []string{"DMSNAP_BIN=" + filepath.Join(dir, "dmsnap"), "DMSNAP_DISKS=" + diskList(g.options(kernel))},
	})
}
