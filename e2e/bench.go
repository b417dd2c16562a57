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
	json    string
}

// runBench prints figures measured on a real kernel, ours and those of the peers from the same run.
func runBench(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "window" {
		return errors.New("usage: e2e bench window [FLAGS]")
	}
	f, err := parseBench(args[1:])
	if err != nil {
		return err
	}
	if err := installPackages(ctx); err != nil {
		return err
	}
	dir, err := workDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, program := range []string{"cmd/dmsnap", "e2e/guest/bench"} {
		if err := build(ctx, "build", "-o", filepath.Join(dir, filepath.Base(program)), "./"+program); err != nil {
			return err
		}
	}
	if err := runQuiet(ctx, nil, "gcc", "-O2", "-Wall", "-static", "-o", filepath.Join(dir, "floor"), "e2e/guest/bench/floor.c"); err != nil {
		return err
	}
	before := hostLoad()
	text, err := f.measure(ctx, dir)
	fmt.Printf("load of the host: %s before, %s after\n", before, hostLoad())
	return errors.Join(err, f.show(text)) // what was measured before an error is shown too
}

func parseBench(args []string) (*benchFlags, error) {
	f := &benchFlags{guestFlags: guestFlags{timeout: 90 * time.Minute, udev: true}}
	set := flag.NewFlagSet("e2e bench window", flag.ContinueOnError)
	f.register(set)
	set.IntVar(&f.cuts, "cuts", 15, "cuts of each kind")
	set.StringVar(&f.systems, "fs", "ext4,xfs", "filesystems")
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
func (f *benchFlags) measure(ctx context.Context, dir string) ([]byte, error) {
	kernel, err := f.kernel()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("more than %v", f.timeout))
	defer cancel()
	options := f.options(kernel)
	machine, err := vm.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	fmt.Printf("kernel %s, %d cuts of each kind in turn\n", machine.Release(), f.cuts)
	var text bytes.Buffer
	result, err := machine.Run(ctx, vm.Command{
		Path: filepath.Join(dir, "bench"), Args: []string{"-cuts", strconv.Itoa(f.cuts), "-fs", f.systems},
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

// show prints the tables and keeps the raw samples if asked to.
func (f *benchFlags) show(text []byte) error {
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
