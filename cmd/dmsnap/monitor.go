package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/dmsnap/dmsnap/dm"
)

type monitorCmd struct {
	Threshold    int           `default:"70" placeholder:"PERCENT" help:"Grow a store when it is this full, in percent (${default})."`
	Step         dm.Size       `placeholder:"SIZE" help:"Grow by at least this much (5g, 10% of the origin; default: half of the present size). Under load it grows by more."`
	Limit        dm.Size       `placeholder:"SIZE" help:"Never grow a store beyond this (default: what it can ever need)."`
	Spill        []string      `sep:"none" placeholder:"DEVICE" help:"An unused block device for the first store whose own device is used up; its contents are lost. Repeatable."`
	Interval     time.Duration `default:"10s" placeholder:"DURATION" help:"Longest time between two checks of everything (${default})."`
	FlattenDepth int           `default:"16" placeholder:"N" aliases:"fold-depth" help:"Flatten leftovers of removed sets once an image reads through more than N others (${default})."`
	FlattenRate  dm.Size       `default:"16m" placeholder:"SIZE" aliases:"fold-rate" help:"Limit that copying to SIZE per second (${default})."`
	Listen       string        `placeholder:"ADDRESS" help:"Serve metrics for Prometheus at http://ADDRESS/metrics."`
	Textfile     string        `placeholder:"PATH" help:"Write metrics for the textfile collector of node_exporter; the name must end in .prom."`
}

func (monitorCmd) Help() string {
	return `Runs until it is stopped, and also watches sets made later. Prints one line per event: low, grown, ` +
		`full, invalid, bypassed, gone, expired, folded, failed; with --json one object. The kernel does not report how full a store is, so it is polled: ` +
		`more often as room runs short. dmsnap-monitor.service runs it under systemd.`
}

func (monitorCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap monitor --limit 30%",
			"dmsnap monitor --spill /dev/vdd --spill /dev/vde --json",
			"dmsnap monitor --listen [::1]:9750",
		},
		exits: []int{0, 1, 2, 3, 7},
	}
}

// fromConfig gives flags of monitor that were not given the values of the
// configuration file.
func fromConfig(k *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if parent.Command == nil || parent.Command.Name != monitorSection || !slices.Contains(monitorKeys, flag.Name) {
		return nil, nil
	}
	i := slices.IndexFunc(k.Model.Flags, func(f *kong.Flag) bool { return f.Name == "config" })
	settings, err := readMonitorConfig(k.FlagValue(k.Model.Flags[i]).(string))
	if err != nil {
		return nil, err
	}
	var values []any
	for _, v := range settings[flag.Name] {
		values = append(values, v)
	}
	switch {
	case len(values) == 0:
		return nil, nil
	case flag.IsSlice():
		return values, nil
	}
	return values[0], nil
}

func (c *monitorCmd) Run(ctx context.Context, env *Env) (err error) {
	if err := c.check(); err != nil {
		return &dm.Error{Op: "monitor", Code: dm.CodeUsage, Err: err, Hint: "see dmsnap monitor --help"}
	}
	m := &metrics{}
	if c.Listen != "" {
		stop, err := serve(c.Listen, m)
		if err != nil {
			return &dm.Error{Op: "monitor", Code: dm.CodeFailed, Device: c.Listen, Err: err, Hint: "choose another --listen address"}
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	var lost error // of output; stores grow all the same
	err = env.Manager.Monitor(ctx, dm.MonitorRequest{
		Threshold: c.Threshold, Step: c.Step, Limit: c.Limit, Spill: c.Spill, Interval: c.Interval,
		FlattenDepth: c.FlattenDepth, FlattenRate: dm.Rate(c.FlattenRate.Bytes),
		Events: func(e dm.Event) {
			m.count(e)
			if werr := emit(env, "events", []dm.Event{e}, func(w io.Writer) { writeEvent(w, e) }); werr != nil {
				lost = werr
			}
		},
		Look: func(sets []dm.Set) {
			m.set(sets, time.Now())
			if werr := m.save(c.Textfile); werr != nil {
				lost = outputError(werr)
			}
			notifySystemd("READY=1\nWATCHDOG=1")
		},
	})
	if err == nil {
		err = lost
	}
	return err
}

func (c *monitorCmd) check() error {
	if c.Interval <= 0 {
		return fmt.Errorf("interval %s is not positive", c.Interval)
	}
	if c.Threshold < 1 || c.Threshold > 99 {
		return errors.New("--threshold must be between 1 and 99")
	}
	if c.FlattenDepth < 1 {
		return errors.New("--flatten-depth must be at least 1")
	}
	if c.FlattenRate.Bytes == 0 {
		return errors.New("--flatten-rate must be a size such as 16m")
	}
	if c.Textfile != "" && !strings.HasSuffix(c.Textfile, ".prom") {
		return fmt.Errorf("--textfile: the name must end in .prom (got %q)", filepath.Base(c.Textfile))
	}
	return nil
}

func writeEvent(w io.Writer, e dm.Event) {
	if e.Volume == "" {
		fmt.Fprintf(w, "%s %s %s\n", timeText(&e.Time), e.Kind, clean(e.Set))
		return
	}
	fmt.Fprintf(w, "%s %s %s %s: %s\n", timeText(&e.Time), e.Kind, clean(e.Set), clean(e.Volume), eventText(e))
}

func eventText(e dm.Event) string {
	text := "store of " + sizeText(e.SizeBytes)
	if e.UsedBytes != nil {
		text += ", " + percent(*e.UsedBytes, e.SizeBytes) + " used"
	}
	if e.Reason != "" {
		text += ": " + clean(e.Reason)
	}
	if len(e.ReadBy) > 0 {
		text += "; sets that read through it: " + list(e.ReadBy)
	}
	return text
}
