package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/guest/bench/report"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// benchFlags say what to measure.
type benchFlags struct {
	guestFlags
	cuts    int
	systems string
	methods string
	many    bool
	json    string
}

// benches are the benchmarks by name.
var benches = []string{"window", "cost", "cow", "sets", "guard", "exec"}

// runBench prints figures measured on a real kernel, ours and those of the peers from the same run: of one benchmark, or of
// all.
func runBench(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "interpose" {
		return runBenchInterpose(ctx, args[1:])
	}
	wanted := benches
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if !slices.Contains(benches, args[0]) {
			return fmt.Errorf("usage: e2e bench [%s|interpose] [FLAGS]", strings.Join(benches, "|"))
		}
		wanted, args = args[:1], args[1:]
	}
	f, err := parseBench(args)
	if err != nil {
		return err
	}
	dir, err := programDir(ctx, "e2e/guest/bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := runQuiet(ctx, nil, "gcc", "-O2", "-Wall", "-static", "-o", filepath.Join(dir, "floor"), "e2e/guest/bench/floor.c"); err != nil {
		return err
	}
	for _, what := range wanted {
		before := hostLoad()
		text, err := f.measure(ctx, dir, what)
		fmt.Printf("load of the host: %s before, %s after\n", before, hostLoad())
		if err := errors.Join(err, f.show(what, text)); err != nil { // what was measured before an error is shown too
			return err
		}
	}
	return nil
}

func parseBench(args []string) (*benchFlags, error) {
	f := &benchFlags{guestFlags: guestFlags{timeout: 90 * time.Minute, udev: true}}
	set := flag.NewFlagSet("e2e bench", flag.ContinueOnError)
	f.register(set)
	set.IntVar(&f.cuts, "cuts", 15, "cuts of each kind, and runs of each command whose time counts")
	set.StringVar(&f.systems, "fs", "ext4,xfs", "filesystems")
	set.StringVar(&f.methods, "methods", "", "only these, by the names in the tables")
	set.BoolVar(&f.many, "many", true, "cut eight volumes too")
	set.StringVar(&f.json, "json", "", "file for the raw samples")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if len(f.disks) == 0 {
		f.disks = []vm.Disk{{Size: 4 << 30}, {Size: 4 << 30}}
	}
	return f, nil
}

// measure runs guest/bench and returns the lines it prints, those before an error too.
func (f *benchFlags) measure(ctx context.Context, dir, what string) ([]byte, error) {
	kernel, err := f.kernel()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("more than %v", f.timeout))
	defer cancel()
	options := f.options(kernel)
	options.Udev = f.udev && what != "cost" // thousands of devices are nothing for it
	machine, err := vm.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	fmt.Printf("%s: kernel %s, %d of each kind\n", what, machine.Release(), f.cuts)
	var text bytes.Buffer
	result, err := machine.Run(ctx, vm.Command{
		Path: filepath.Join(dir, "bench"), Args: []string{"-what", what, "-cuts", strconv.Itoa(f.cuts), "-fs", f.systems, "-methods", f.methods, "-many=" + strconv.FormatBool(f.many), "-loop", report.Loop().String()},
		Env: []string{
			"DMSNAP_BIN=" + filepath.Join(dir, "dmsnap"), "DMSNAP_FLOOR=" + filepath.Join(dir, "floor"),
			"DMSNAP_DISKS=" + diskList(options),
		},
		Stdout: &text, Stderr: os.Stderr, Leaks: true,
	})
	if lines := slices.Concat(result.Troubles, result.Leaks); len(lines) > 0 {
		err = errors.Join(err, errors.New("the guest is not as it was:\n"+strings.Join(lines, "\n")))
	}
	if result.ExitCode != 0 {
		err = cmp.Or(err, error(exitStatus(result.ExitCode)))
	}
	return text.Bytes(), errors.Join(err, machine.Close())
}

// show prints the tables and keeps the raw samples if asked to. The others are text already.
func (f *benchFlags) show(what string, text []byte) error {
	if what != "window" {
		_, err := os.Stdout.Write(text)
		return err
	}
	samples := []report.Sample{}
	for line := range bytes.Lines(text) {
		var s report.Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("sample: %w", err)
		}
		samples = append(samples, s)
	}
	if err := report.Print(os.Stdout, samples); err != nil || f.json == "" {
		return err
	}
	raw, err := json.Marshal(samples)
	if err != nil {
		return err
	}
	return os.WriteFile(f.json, raw, 0o644)
}

// hostLoad is the load of the last minute: how much else the machine had to do.
func hostLoad() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
