package results

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Summary puts stages side by side. Host is the plain run on the host, or nil; Guests are the real kernels; Others
// (lint, race) fail or not, but their passes are not counted again.
type Summary struct {
	Host   *Stage
	Others []*Stage
	Guests []*Stage
}

// Real counts the tests of a guest that really needed it: they ran there and did not on the host.
func (s Summary) Real(guest *Stage) int {
	n := 0
	for _, verdict := range []string{Passed, Failed} {
		for _, test := range guest.Tests(verdict) {
			if s.Host == nil || !s.Host.Has(test, Passed) && !s.Host.Has(test, Failed) {
				n++
			}
		}
	}
	return n
}

// Failed is the number of failures of all stages.
func (s Summary) Failed() int {
	n := 0
	for _, stage := range s.all() {
		n += stage.Failures()
	}
	return n
}

func (s Summary) passed() int {
	n := 0
	for _, stage := range s.counted() {
		n += stage.Count(Passed)
	}
	return n
}

// skipped counts the tests that were skipped somewhere and ran nowhere.
func (s Summary) skipped() int {
	skipped, ran := map[Test]bool{}, map[Test]bool{}
	for _, stage := range s.counted() {
		for test, verdict := range stage.verdicts {
			if verdict == Skipped {
				skipped[test] = true
			} else {
				ran[test] = true
			}
		}
	}
	n := 0
	for test := range skipped {
		if !ran[test] {
			n++
		}
	}
	return n
}

func (s Summary) counted() []*Stage {
	if s.Host == nil {
		return s.Guests
	}
	return append([]*Stage{s.Host}, s.Guests...)
}

func (s Summary) all() []*Stage {
	return append(append([]*Stage{}, s.Others...), s.counted()...)
}

// Print shows all failures again, the table, and the totals on a line of their own.
func (s Summary) Print(w io.Writer) error {
	for _, stage := range s.all() {
		for _, test := range stage.Tests(Failed) {
			fmt.Fprintf(w, "FAIL  %s: %s %s\n", stage.Name, short(test.Package), test.Name)
		}
		for _, problem := range stage.Problems {
			first, _, _ := strings.Cut(problem, "\n") // the rest was shown when it happened
			fmt.Fprintf(w, "FAIL  %s: %s\n", stage.Name, first)
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\nstage\trun\tpassed\tfailed\tskipped\treal kernel only\ttime\t")
	for _, stage := range s.all() {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t\n", stage.Name, stage.Count(Passed)+stage.Count(Failed),
			stage.Count(Passed), stage.Failures(), stage.Count(Skipped), s.realColumn(stage), stage.Time.Round(time.Second))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", s.passed(), s.Failed(), s.skipped())
	return err
}

func (s Summary) realColumn(stage *Stage) string {
	for _, guest := range s.Guests {
		if guest == stage {
			return fmt.Sprint(s.Real(guest))
		}
	}
	return "-"
}
