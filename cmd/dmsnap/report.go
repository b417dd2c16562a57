package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

type reportCmd struct {
	HTML string `name:"html" required:"" placeholder:"FILE" help:"File to write the page to; replaced as a whole."`
}

func (reportCmd) Help() string {
	return `Writes one page about this host: its sets with their receipts, how full their stores are and when they will be full, which sets read through which, ` +
		`and the stack of devices. The page needs no other file, no network and no scripts. Changes nothing else.`
}

func (reportCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap report --html report.html", "dmsnap report --html report.html --json"},
		exits:    []int{0, 1, 2, 7},
	}
}

func (c *reportCmd) Run(ctx context.Context, env *Env) error {
	if c.HTML == "" {
		return &dm.Error{Op: "report", Code: dm.CodeUsage, Err: errors.New("the name of the file is empty"), Hint: "see dmsnap report --help"}
	}
	sets, err := env.Manager.List(ctx)
	if err != nil {
		return err
	}
	graph, err := env.Manager.Graph(ctx)
	if err != nil {
		return err
	}
	var page bytes.Buffer
	host, err := os.Hostname()
	if err == nil {
		err = writePage(&page, newReport(host, time.Now(), sets, graph))
	}
	if err == nil {
		err = writeWhole(c.HTML, 0o644, page.Bytes())
	}
	if err != nil {
		return &dm.Error{Op: "report", Code: dm.CodeFailed, Device: c.HTML, Err: err}
	}
	return emit(env, "files", []writtenFile{{c.HTML}}, func(w io.Writer) { fmt.Fprintln(w, clean(c.HTML)) })
}
