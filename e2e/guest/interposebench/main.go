// Command interposebench runs inside a guest: it writes to a mounted partition without the module, with it, attached
// without a set, and with a set, in turn, so that a noisy machine is unfair to all alike. It does so on two media: where
// the processor is all that counts, and where a write takes its time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const mountpoint = "/home"

// state is what the partition is in while it is measured.
type state struct {
	name        string
	enter, exit []string // command lines
}

// states begin with the one that the others are compared to.
func states(store string) []state {
	const load, unload = "insmod $DMSNAP_MODULE", "rmmod dm_interpose"
	return []state{
		{"without module", nil, nil},
		{"never attached", []string{load}, []string{unload}},
		{"attached", []string{load, "$DMSNAP_BIN attach " + mountpoint}, []string{"$DMSNAP_BIN detach " + mountpoint, unload}},
		{
			"with a set",
			[]string{load, "$DMSNAP_BIN create " + mountpoint + " --name bench --store " + store},
			[]string{"$DMSNAP_BIN remove bench", unload},
		},
	}
}

// medium is a disk that writes are measured on.
type medium struct {
	name, disk, plain string
	enter, exit       string // command lines
	writes            int
}

func media(disk string) []medium {
	const slow = "/dev/nullb0"
	return []medium{
		{"memory of the host", disk, disk + "1", "true", "true", 3000},
		{
			"a disk that takes 1 ms", slow, slow + "p1",
			"modprobe null_blk nr_devices=1 gb=2 bs=512 memory_backed=1 irqmode=2 completion_nsec=1000000", "rmmod null_blk", 1000,
		},
	}
}

func main() {
	rounds := flag.Int("rounds", 7, "")
	flag.Parse()
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	for _, m := range media(disks[0]) {
		if err := m.bench(*rounds, disks[1]); err != nil {
			fmt.Fprintln(os.Stderr, "interposebench:", err)
			os.Exit(1)
		}
	}
}

func (m medium) bench(rounds int, store string) (err error) {
	err = shell([]string{
		"modprobe dm-mod", m.enter, "udevadm settle; addpart " + m.disk + " 1 2048 2097152; udevadm settle",
		"mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 " + m.plain, "mount " + m.plain + " " + mountpoint,
	})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, run("sh", "-c", "umount "+mountpoint+"; delpart "+m.disk+" 1; "+m.exit))
	}()
	if err := prepare(); err != nil {
		return err
	}
	samples := map[string]map[string][]float64{}
	all := states(store)
	for round := 0; round <= rounds; round++ { // the first only warms up
		for i := range all {
			s := all[(i+round)%len(all)]
			if err := s.measure(m.loads(), round > 0, samples); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Printf("%s\n", m.name)
	show(m.loads(), all, samples)
	return nil
}

func (s state) measure(loads []load, count bool, samples map[string]map[string][]float64) error {
	if err := shell(s.enter); err != nil {
		return err
	}
	for _, l := range loads {
		perSecond, err := l.run()
		if err != nil {
			return err
		}
		if !count {
			continue
		}
		if samples[l.name] == nil {
			samples[l.name] = map[string][]float64{}
		}
		samples[l.name][s.name] = append(samples[l.name][s.name], perSecond)
	}
	return shell(s.exit)
}

func shell(lines []string) error {
	for _, line := range lines {
		if err := run("sh", "-c", line); err != nil {
			return err
		}
	}
	return nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// show prints medians, and the ratio to what was measured in the same round without a layer: its median and spread.
func show(loads []load, all []state, samples map[string]map[string][]float64) {
	fmt.Printf("%-28s %-16s %10s %10s %18s\n", "load", "partition", "per second", "ratio", "ratios from - to")
	for _, l := range loads {
		plain := samples[l.name][all[0].name]
		for _, s := range all {
			var ratios []float64
			for i, v := range samples[l.name][s.name] {
				ratios = append(ratios, v/plain[i])
			}
			slices.Sort(ratios)
			fmt.Printf("%-28s %-16s %10.0f %10.3f %10.3f - %.3f\n", l.name, s.name, median(samples[l.name][s.name]),
				median(ratios), ratios[0], ratios[len(ratios)-1])
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// rate is how often something is done in a second.
func rate(n int, do func(i int) error) (float64, error) {
	begin := time.Now()
	for i := range n {
		if err := do(i); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
