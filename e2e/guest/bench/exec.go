package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/e2e/guest/bench/report"
)

// execBench measures a whole run of a command that does nothing, next to what a
// script with lvm2 does for the same, in turn on the same volume.
func execBench(runs int, disk string) (err error) {
	const mountpoint, image = "/mnt/bench", "/mnt/image"
	err = shell("%s", "vgcreate -qq bench "+disk+" && lvcreate -qq -y -n home -L 1G bench && lvcreate -qq -y -n store -L 256M bench"+
		" && mkfs.ext4 -q /dev/bench/home && mkdir -p "+mountpoint+" "+image+" && mount /dev/bench/home "+mountpoint)
	defer func() {
		err = errors.Join(err, shell("%s", "umount "+mountpoint+"; vgremove -qq -f --config activation/monitoring=0 bench; pvremove -qq "+disk), os.RemoveAll(stateDir))
	}()
	if err != nil {
		return err
	}
	ways := []struct {
		name string
		run  func() error
		took []time.Duration
	}{
		{"dmsnap exec -- true", func() error {
			return exec.Command(os.Getenv("DMSNAP_BIN"), "exec", mountpoint, "--store", "/dev/bench/store", "--force-store", "--", "true").Run()
		}, nil},
		{"lvcreate -s, mount, true, umount, lvremove", func() error {
			return shell("%s", "lvcreate -qq -y --config activation/monitoring=0 -s -n image -L 256M bench/home && mount -o ro /dev/bench/image "+image+" && true && umount "+image+" && lvremove -qq -y --config activation/monitoring=0 bench/image")
		}, nil},
	}
	for round := range runs + 1 {
		for i := range ways {
			w := &ways[(i+round)%len(ways)]
			start := time.Now()
			if err := w.run(); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if round > 0 { // the first only warms up
				w.took = append(w.took, time.Since(start))
			}
		}
	}
	middle := func(all []time.Duration) time.Duration { return slices.Sorted(slices.Values(all))[len(all)/2] }
	for _, w := range ways {
		fmt.Printf("%s: %s ms, %s to %s\n", w.name, report.MS(middle(w.took)), report.MS(slices.Min(w.took)), report.MS(slices.Max(w.took)))
	}
	fmt.Printf("ratio of the medians: %.2f\n", float64(middle(ways[0].took))/float64(middle(ways[1].took)))
	return nil
}
