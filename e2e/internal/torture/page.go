// Package torture makes docs/torture.md out of what the torture tests log.
package torture

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ways in which the tool ends, as the tests name them, in the order of the columns.
var ways = []string{"kill", "inside", "stop", "both"}

// Page is the tables of all operations.
type Page struct {
	kernels []string
	tables  []*table
}

type table struct {
	op    string
	steps []string
	cells map[cell]string // outcomes
}

type cell struct {
	kernel string
	step   int
	way    string
}

const head = `# Torture

What becomes of an operation whose process ends at a step: *before* means that everything is as if it had never begun, *after*
that it is complete. Nothing in between was ever seen, or the run would have failed. ` + "`just torture`" + ` makes this page from the logs of
runs (` + "`TestTortureSteps`, `TestTortureAttach`" + `) in which writers with records of their own run on all origins. After each end a write
on every origin comes through; then ` + "`dmsnap recover`" + ` runs, the tables are compared, images are read, and at last the origins are
verified. Only operations that were run in full are here (` + "`TestTorturePage`" + ` compares their steps with the plans).

| column | the process is |
|---|---|
| killed before | killed by SIGKILL right before the step; if it is in the window, the guard unblocks writers |
| killed in | killed while it is about the step, or a little later |
| stopped before | stopped, for longer than the deadline of its window (1 s), then continued; it continues or ends with exit status 8 |
| killed with guard | killed right before the step, and its guard before it; ` + "`dmsnap thaw`" + ` unblocks writers |

`

// ReadLogs adds logs, each named NAME=FILE.
func (p *Page) ReadLogs(named []string) error {
	for _, text := range named {
		kernel, path, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("not NAME=FILE: %q", text)
		}
		log, err := os.Open(path)
		if err != nil {
			return err
		}
		err = p.Add(kernel, log)
		log.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// Add reads the log of a run on a kernel: lines that end in "torture | OPERATION | NUMBER | STEP | WAY | OUTCOME".
func (p *Page) Add(kernel string, log io.Reader) error {
	p.kernels = append(p.kernels, kernel)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		_, text, ok := strings.Cut(lines.Text(), "torture | ")
		if !ok {
			continue
		}
		fields := strings.Split(text, " | ")
		if len(fields) != 5 {
			return fmt.Errorf("not five fields: %q", text)
		}
		number, err := strconv.Atoi(fields[1])
		if err != nil {
			return err
		}
		t := p.table(fields[0])
		for len(t.steps) < number {
			t.steps = append(t.steps, "")
		}
		t.steps[number-1] = fields[2]
		t.cells[cell{kernel, number, fields[3]}] = strings.TrimSpace(fields[4])
	}
	return lines.Err()
}

func (p *Page) table(op string) *table {
	i := slices.IndexFunc(p.tables, func(t *table) bool { return t.op == op })
	if i < 0 {
		i = len(p.tables)
		p.tables = append(p.tables, &table{op: op, cells: map[cell]string{}})
	}
	return p.tables[i]
}

// Text is the page.
func (p *Page) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sKernels: %s.\n\n%s", head, strings.Join(p.kernels, ", "), p.summary())
	for _, t := range p.tables {
		fmt.Fprintf(&b, "\n## %s\n\n", strings.ToUpper(t.op[:1])+t.op[1:])
		b.WriteString("| | step | killed before | killed in | stopped before | killed with guard |\n|---|---|---|---|---|---|\n")
		for i, step := range t.steps {
			fmt.Fprintf(&b, "| %d | `%s` |", i+1, step)
			for _, way := range ways {
				fmt.Fprintf(&b, " %s |", p.outcome(t, i+1, way))
			}
			b.WriteString("\n")
		}
	}
	return b.Bytes()
}

// summary counts outcomes.
func (p *Page) summary() string {
	var b strings.Builder
	b.WriteString("| operation | steps | kernel | killed before | killed in | stopped before | killed with guard |\n|---|---|---|---|---|---|---|\n")
	for _, t := range p.tables {
		for _, kernel := range p.ranOn(t) {
			fmt.Fprintf(&b, "| %s | %d | %s |", t.op, len(t.steps), kernel)
			for _, way := range ways {
				fmt.Fprintf(&b, " %s |", t.count(kernel, way))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// ranOn are the kernels on which an operation was run.
func (p *Page) ranOn(t *table) []string {
	return slices.DeleteFunc(slices.Clone(p.kernels), func(kernel string) bool {
		for c := range t.cells {
			if c.kernel == kernel {
				return false
			}
		}
		return true
	})
}

// count says how often each outcome was seen.
func (t *table) count(kernel, way string) string {
	seen := map[string]int{}
	for c, outcome := range t.cells {
		if c.kernel == kernel && c.way == way {
			seen[outcome]++
		}
	}
	var all []string
	for _, outcome := range []string{"before", "after"} {
		if seen[outcome] > 0 {
			all = append(all, fmt.Sprintf("%d %s", seen[outcome], outcome))
		}
	}
	return strings.Join(all, ", ")
}

// outcome is one word where all kernels agree.
func (p *Page) outcome(t *table, step int, way string) string {
	var all []string
	kernels := p.ranOn(t)
	for _, kernel := range kernels {
		all = append(all, t.cells[cell{kernel, step, way}])
	}
	if len(slices.Compact(slices.Sorted(slices.Values(all)))) == 1 {
		return all[0]
	}
	for i, kernel := range kernels {
		all[i] = fmt.Sprintf("%s (%s)", all[i], kernel)
	}
	return strings.Join(all, ", ")
}
