package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmark of copy on write: one origin, written to with O_DIRECT at random places, each write after the one before.
// Every write of the first pass lands in another 256 KiB, so that it is the first touch of a chunk whatever the chunk.
const (
	cowGroup   = "cow"
	cowSlot    = 256 << 10
	cowWrites  = 128 // of each size of a block, each in a slot of its own
	cowOrigin  = 2 * cowWrites * cowSlot >> 20
	cowStore   = cowOrigin + 16 // MiB: nothing overflows
	cowMaxSets = 4
	// cowTime is what a medium may take: no round is begun that would probably end
	// later.
	cowTime = 7 * time.Minute
)

// protection is one way in which the origin is kept while it is written to.
type protection struct {
	name string
	sets int
	up   func(sets int) error
	down func(sets int) error
}

func (p protection) key() string { return fmt.Sprint(p.name, p.sets) }

func protections() (all []protection) {
	nothing := func(int) error { return nil }
	all = append(all, protection{"no snapshot", 0, nothing, nothing})
	for _, sets := range []int{1, cowMaxSets} {
		all = append(all,
			protection{"dmsnap default", sets, dmsnapUp(), dmsnapDown},
			protection{"lvcreate -s default", sets, lvmUp, lvmDown})
	}
	for _, format := range []string{"N", "P"} {
		for _, chunk := range []string{"4k", "16k", "64k", "256k"} {
			flags := []string{"--chunk", chunk}
			if format == "P" {
				flags = append(flags, "--persistent")
			}
			all = append(all, protection{"dmsnap " + format + " " + chunk, 1, dmsnapUp(flags...), dmsnapDown})
		}
	}
	return all
}

func dmsnapUp(flags ...string) func(int) error {
	return func(sets int) error {
		for i := range sets {
			args := append([]string{"create", "-n", fmt.Sprint("s", i), cowPath("origin"), "--store", cowPath(fmt.Sprint("c", i))}, flags...)
			if _, err := output(os.Getenv("DMSNAP_BIN"), args...); err != nil {
				return err
			}
		}
		return nil
	}
}

func dmsnapDown(sets int) error {
	for i := range sets {
		if _, err := output(os.Getenv("DMSNAP_BIN"), "remove", fmt.Sprint("s", i)); err != nil {
			return err
		}
	}
	return nil
}

func lvmUp(sets int) error {
	for i := range sets {
		if err := shell("lvcreate -q -y -s -L %dM -n l%d %s /dev/mapper/medium-store", cowStore, i, cowPath("origin")); err != nil {
			return err
		}
	}
	return nil
}

func lvmDown(sets int) error {
	for i := range sets {
		if err := shell("lvremove -q -y %s", cowPath(fmt.Sprint("l", i))); err != nil {
			return err
		}
	}
	return nil
}

func cowPath(name string) string { return "/dev/" + cowGroup + "/" + name }

// cow prints one table for each medium.
func cow(rounds int, disks []string) error {
	media := []struct{ name, table string }{
		{"a fast medium", "linear DISK 2048"},
		{"a medium with 1 ms more for each write and flush", "delay DISK 2048 0 DISK 2048 1 DISK 2048 1"},
	}
	for _, m := range media {
		if err := cowOn(m.name, m.table, rounds, disks); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

func cowOn(medium, table string, rounds int, disks []string) (err error) {
	defer func() { err = errors.Join(err, cowClear()) }()
	if err := cowPrepare(table, disks, cowMaxSets); err != nil {
		return err
	}
	rates := map[string][]cowRates{}
	all := protections()
	start := time.Now()
	for round := range rounds {
		if took := time.Since(start); round > 0 && took+took/time.Duration(round) > cowTime {
			break
		}
		for i := range all {
			p := all[(i+round)%len(all)]
			r, err := p.measure(func() error { return nil })
			if err != nil {
				return fmt.Errorf("%s, %d sets: %w", p.name, p.sets, err)
			}
			rates[p.key()] = append(rates[p.key()], r)
		}
		fmt.Fprintf(os.Stderr, "%s: %d of %d\n", medium, round+1, rounds)
	}
	return cowPrint(medium, all, rates)
}

// cowPrepare makes an origin and n stores on the medium. LVM's peers stand on the same devices.
func cowPrepare(table string, disks []string, n int) error {
	if err := os.WriteFile("/etc/lvm/lvmlocal.conf", []byte("activation { monitoring = 0 }\n"), 0o644); err != nil {
		return err
	}
	for i, name := range []string{"medium-origin", "medium-store"} {
		// Not from the disk's beginning: LVM would find each label twice.
		err := shell(`dmsetup create %[1]s --table "0 $(($(blockdev --getsz %[2]s) - 2048)) %[3]s"; dd if=/dev/zero of=/dev/mapper/%[1]s bs=1M count=1 conv=fsync status=none`,
			name, disks[i], strings.ReplaceAll(table, "DISK", disks[i]))
		if err != nil {
			return err
		}
	}
	return shell(`vgcreate -q %[1]s /dev/mapper/medium-origin /dev/mapper/medium-store
		lvcreate -q -y -n origin -L %[2]dM %[1]s /dev/mapper/medium-origin
		for i in $(seq 0 %[4]d); do lvcreate -q -y -n c$i -L %[3]dM %[1]s /dev/mapper/medium-store; done`, cowGroup, cowOrigin, cowStore, n-1)
}

func cowClear() error {
	return shell(`vgremove -q -f %s; pvremove -q /dev/mapper/medium-origin /dev/mapper/medium-store
		udevadm settle; dmsetup remove --retry medium-origin; dmsetup remove --retry medium-store`, cowGroup)
}

// cowRates are writes a second: of 4 KiB and of 64 KiB, the first time and again.
type cowRates struct{ first, steady [2]float64 }

var cowBlocks = [2]int{4 << 10, 64 << 10}

// measure writes to the origin while it is protected, and calls after before that ends.
func (p protection) measure(after func() error) (r cowRates, err error) {
	if err := p.up(p.sets); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.down(p.sets)) }()
	if err := shell("udevadm settle"); err != nil {
		return r, err
	}
	f, err := os.OpenFile(cowPath("origin"), os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return r, err
	}
	defer f.Close()
	for i, block := range cowBlocks {
		places := cowPlaces(int64(i)*cowWrites*cowSlot, block)
		if r.first[i], err = cowRate(f, block, places); err != nil {
			return r, err
		}
		if r.steady[i], err = cowRate(f, block, slices.Concat(places, places)); err != nil {
			return r, err
		}
	}
	return r, after()
}

// cowPlaces are the same for all: one in each slot, in any order.
func cowPlaces(from int64, block int) []int64 {
	random := rand.New(rand.NewPCG(1, uint64(block)))
	var places []int64
	for _, slot := range random.Perm(cowWrites) {
		places = append(places, from+int64(slot)*cowSlot+int64(random.IntN(cowSlot/block)*block))
	}
	return places
}

func cowRate(f *os.File, block int, places []int64) (float64, error) {
	buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(buf)) }()
	start := time.Now()
	for _, at := range places {
		if _, err := f.WriteAt(buf, at); err != nil {
			return 0, err
		}
	}
	return float64(len(places)) / time.Since(start).Seconds(), err
}

// cowPrint shows medians, and their ratios to no snapshot and to as many of lvcreate's.
func cowPrint(medium string, all []protection, rates map[string][]cowRates) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s, %d rounds; writes a second, in brackets the share of no snapshot's and of lvcreate's\n", medium, len(rates["no snapshot0"]))
	fmt.Fprintln(w, "\tsets\t4k first touch\t\t4k steady\t\t64k first touch\t\t64k steady\t\t")
	median := func(name string, sets int, field func(cowRates) float64) float64 {
		var values []float64
		for _, r := range rates[fmt.Sprint(name, sets)] {
			values = append(values, field(r))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%d", p.name, p.sets)
		for i := range cowBlocks {
			for _, field := range []func(cowRates) float64{
				func(r cowRates) float64 { return r.first[i] }, func(r cowRates) float64 { return r.steady[i] },
			} {
				own, none := median(p.name, p.sets, field), median("no snapshot", 0, field)
				peer := median("lvcreate -s default", max(p.sets, 1), field)
				fmt.Fprintf(w, "\t%.0f\t(%.2f, %.2f)", own, own/none, own/peer)
			}
		}
		fmt.Fprintln(w, "\t")
	}
	fmt.Fprintln(w)
	return w.Flush()
}
