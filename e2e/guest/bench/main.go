// Command bench runs inside a guest. With -what window it cuts the same volumes, under load, in several ways in turn, so
// that a noisy machine is unfair to all alike, and prints each sample as a line of JSON. With -what cost it prints what
// commands take from a crowded host, with -what cow what copying costs writers, with -what sets what many sets cost them, with
// -what guard how soon the guard lets them go, with -what exec what a whole run of a command takes, as text.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/guest/bench/report"
)

// many is the size of the larger set.
const many = 8

func main() {
	what := flag.String("what", "window", "")
	cuts := flag.Int("cuts", 15, "")
	systems := flag.String("fs", "ext4,xfs", "")
	only := flag.String("methods", "", "")
	large := flag.Bool("many", true, "")
	hostLoop := flag.Duration("loop", 0, "")
	flag.Parse()
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	var err error
	switch {
	case len(disks) < 2:
		err = fmt.Errorf("two disks are needed, not %v", disks)
	case *what == "cost":
		err = cost(*cuts, *hostLoop, disks)
	case *what == "sets":
		err = sets(max(1, *cuts/5), disks)
	case *what == "cow":
		err = cow(max(1, *cuts/5), disks)
	case *what == "exec":
		err = execBench(*cuts, disks[0])
	case *what == "guard":
		err = guard(*cuts, disks)
	default:
		err = bench(*cuts, strings.Split(*systems, ","), *only, *large, disks)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(cuts int, systems []string, only string, large bool, disks []string) (err error) {
	volumes, err := makeVolumes(many, disks[0], disks[1])
	defer func() { err = errors.Join(err, dropVolumes(disks[0], disks[1])) }()
	if err != nil {
		return err
	}
	for _, fs := range systems {
		if err := benchSystem(fs, cuts, turnsOf(volumes, only, large), volumes); err != nil {
			return err
		}
	}
	return nil
}

func benchSystem(fs string, cuts int, turns []turn, volumes []volume) (err error) {
	for _, v := range volumes {
		defer func() { err = errors.Join(err, v.unmount()) }()
		if err := v.format(fs); err != nil {
			return err
		}
	}
	// The first round only warms up: programs are read over 9p then, modules loaded.
	for round := 0; round <= cuts; round++ {
		for i := range turns {
			t := turns[(i+round)%len(turns)]
			if len(t.volumes) > 1 && round%t.many != 0 {
				continue
			}
			if err := t.run(fs, round); err != nil {
				return fmt.Errorf("%s, round %d, %s, %d volume(s): %w", fs, round, t.name, len(t.volumes), err)
			}
		}
		fmt.Fprintf(os.Stderr, "%s: %d of %d\n", fs, round, cuts)
	}
	return nil
}

// turn is one method on one set of volumes.
type turn struct {
	method
	volumes []volume
}

// turnsOf are those of some methods, or of all, on one volume and if large on many.
func turnsOf(volumes []volume, only string, large bool) (turns []turn) {
	for _, m := range methods() {
		if only != "" && !slices.Contains(strings.Split(only, ","), m.name) {
			continue
		}
		turns = append(turns, turn{m, volumes[:1]})
		if large && m.many > 0 {
			turns = append(turns, turn{m, volumes})
		}
	}
	return turns
}

// run measures a cut and the removal of what it made.
func (t turn) run(fs string, round int) (err error) {
	if err := shell("udevadm settle"); err != nil {
		return err
	}
	l, err := startLoad(t.volumes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	for _, op := range []struct {
		name    string
		prepare func([]volume) error
		do      func([]volume) (report.Own, error)
	}{{report.Create, t.beforeCreate, t.create}, {report.Remove, t.beforeRemove, t.remove}} {
		if op.prepare != nil {
			if err := op.prepare(t.volumes); err != nil {
				return err
			}
		}
		s, err := measure(l, func() (report.Own, error) { return op.do(t.volumes) })
		if err != nil {
			return err
		}
		s.FS, s.Volumes, s.Method, s.Op, s.Round = fs, len(t.volumes), t.name, op.name, round
		if round == 0 {
			continue
		}
		if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
			return err
		}
	}
	if t.afterRemove == nil {
		return nil
	}
	return t.afterRemove(t.volumes)
}

// measure waits for the writers before and after: neither may be in a gap of something else.
func measure(l *load, do func() (report.Own, error)) (s report.Sample, err error) {
	if err := l.await(5); err != nil {
		return s, err
	}
	start := time.Now()
	s.Own, err = do()
	end := time.Now()
	s.WallUS = end.Sub(start).Microseconds()
	if err == nil {
		err = l.await(2)
	}
	s.GapUS = l.gap(start, end).Microseconds()
	return s, err
}
