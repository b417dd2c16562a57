package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

type whyCmd struct {
	Name   string        `arg:"" help:"Name of a set, or an origin as for create."`
	Sample time.Duration `default:"1s" placeholder:"DURATION" help:"How long to watch how fast the stores of a set fill; 0: do not watch (${default})."`
}

func (whyCmd) Help() string {
	return `Explains why a set is invalid or busy, or about to be, and why an origin is refused or slow: which process holds a device and in which ` +
		`mount namespace, what is suspended or in progress, which part of the kernel is missing, how fast a store fills and ` +
		`when it will be full. Changes nothing.`
}

func (whyCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap why nightly", "dmsnap why /home", "dmsnap why nightly --sample 10s --json"},
		exits:    []int{0, 1, 2, 4, 7},
	}
}

func (c *whyCmd) Run(ctx context.Context, env *Env) error {
	if c.Sample < 0 {
		return &dm.Error{Op: "why", Code: dm.CodeUsage, Err: errors.New("--sample must not be negative"), Hint: "see dmsnap why --help"}
	}
	names, err := setsOrOrigins([]string{c.Name})
	if err != nil {
		return &dm.Error{Op: "why", Code: dm.CodeUsage, Err: err}
	}
	x, err := env.Manager.Why(ctx, names[0], c.Sample)
	if err != nil {
		return err
	}
	return emit(env, "explanations", []dm.Explanation{*x}, func(w io.Writer) { writeExplanation(w, x) })
}

// levelMarks stand before the findings.
var levelMarks = map[dm.Level]string{dm.LevelOK: "[ok]", dm.LevelNote: "[..]", dm.LevelProblem: "[--]"}

func writeExplanation(w io.Writer, x *dm.Explanation) {
	fmt.Fprintf(w, "%s %s: %s\n", x.Kind, clean(x.Subject), clean(x.Summary))
	for _, f := range x.Findings {
		subject := string(f.Topic)
		if f.Volume != "" {
			subject = clean(f.Volume) + " " + string(f.Topic)
		}
		fmt.Fprintf(w, "%s %s\t%s\n", levelMarks[f.Level], subject, clean(f.Message))
		if f.Hint != "" {
			fmt.Fprintf(w, "\thint: %s\n", clean(f.Hint))
		}
	}
}
