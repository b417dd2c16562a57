package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// runDemo shows the tool at work on a real kernel: the program of guest/demo, with the dmsnap of this tree.
func runDemo(ctx context.Context, args []string) error {
	g := &guestFlags{timeout: 15 * time.Minute, udev: true}
	set := flag.NewFlagSet("e2e demo", flag.ContinueOnError)
	g.register(set)
	origin := set.String("origin", "dm", "what is cut: dm, device-mapper devices, or plain, a partition")
	if err := set.Parse(args); err != nil {
		return err
	}
	switch *origin {
	case "dm":
	case "plain":
		g.module = true
	default:
		return fmt.Errorf("no origin %q, there are: dm, plain", *origin)
	}
	if len(g.disks) == 0 {
		g.disks = testDisks()[:4]
	}
	dir, err := programDir(ctx, "e2e/guest/demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kernel, err := g.kernel()
	if err != nil {
		return err
	}
	restic, err := vm.Packages(ctx, "restic")
	if err != nil {
		return err
	}
	return inGuest(ctx, g, vm.Command{
		Path: filepath.Join(dir, "demo"),
		Env: []string{
			"DMSNAP_BIN=" + filepath.Join(dir, "dmsnap"), "DMSNAP_DISKS=" + diskList(g.options(kernel)), "DMSNAP_ORIGIN=" + *origin,
			"DMSNAP_DEBS=" + strings.Join(restic, " "),
		},
	})
}
