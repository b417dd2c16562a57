package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// The benchmark of many sets: what each further one costs the writers of the origin, and how much is kept in all stores.
const setsMost = 24

func setsProtections() (all []protection) {
	for _, n := range []int{1, 4, 8, setsMost} {
		all = append(all,
			protection{"dmsnap, chained", n, dmsnapUp("--persistent"), dmsnapDown},
			protection{"dmsnap, each copies", n, dmsnapUp(), dmsnapDown},
			protection{"lvcreate -s", n, lvmUp, lvmDown})
	}
	nothing := func(int) error { return nil }
	return append([]protection{{"no snapshot", 0, nothing, nothing}}, all...)
}

// setsRates are writes a second, and what the stores hold afterwards.
type setsRates struct {
	cowRates
	kept uint64 // bytes
}

func sets(rounds int, disks []string) (err error) {
	defer func() { err = errors.Join(err, cowClear()) }()
	if err := cowPrepare("linear DISK 2048", disks, setsMost); err != nil {
		return err
	}
	all, rates := setsProtections(), map[string][]setsRates{}
	for round := range rounds {
		for i := range all {
			p := all[(i+round)%len(all)]
			var r setsRates
			measured, err := p.measure(func() (err error) { r.kept, err = keptBytes(); return err })
			if err != nil {
				return fmt.Errorf("%s, %d sets: %w", p.name, p.sets, err)
			}
			r.cowRates = measured
			rates[p.key()] = append(rates[p.key()], r)
			fmt.Fprintf(os.Stderr, "%s, %d sets: round %d of %d\n", p.name, p.sets, round+1, rounds)
		}
	}
	return setsPrint(all, rates)
}

// keptBytes is what all snapshots of the machine have allocated, as dmsetup tells.
func keptBytes() (sum uint64, err error) {
	text, err := output("dmsetup", "status", "--target", "snapshot")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var name string
		var start, length, used, size, metadata uint64
		if _, err := fmt.Sscanf(line, "%s %d %d snapshot %d/%d %d", &name, &start, &length, &used, &size, &metadata); err != nil {
			continue // "No devices found"
		}
		sum += used << 9
	}
	return sum, nil
}

// setsPrint shows medians, and their ratios to one set of the same kind.
func setsPrint(all []protection, rates map[string][]setsRates) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "writes a second, in brackets the share of what one set of the kind allows")
	fmt.Fprintln(w, "\tsets\t4k first touch\t\t4k steady\t\t64k first touch\t\t64k steady\t\tkept MiB\t")
	median := func(p protection, field func(setsRates) float64) float64 {
		var values []float64
		for _, r := range rates[p.key()] {
			values = append(values, field(r))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%d", p.name, p.sets)
		one := protection{name: p.name, sets: min(p.sets, 1)}
		for i := range cowBlocks {
			for _, field := range []func(setsRates) float64{
				func(r setsRates) float64 { return r.first[i] }, func(r setsRates) float64 { return r.steady[i] },
			} {
				fmt.Fprintf(w, "\t%.0f\t(%.2f)", median(p, field), median(p, field)/median(one, field))
			}
		}
		fmt.Fprintf(w, "\t%.0f\t\n", median(p, func(r setsRates) float64 { return float64(r.kept >> 20) }))
	}
	return w.Flush()
}
