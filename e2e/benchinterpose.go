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
	dir, err := programDir(ctx, "e2e/guest/interposebench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
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
