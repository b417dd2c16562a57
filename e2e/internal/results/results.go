// Package results reads the events of `go test -json`, shows them as they come, and counts.
package results

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Test names a top-level test.
type Test struct{ Package, Name string }

// Stage is one pass over tests: on the host, or on one kernel. The verdict of each top-level test counts once.
type Stage struct {
	Name     string
	Problems []string // what failed besides tests: a build, a kernel warning, something left behind
	Time     time.Duration

	verdicts map[Test]string
	pending  map[Test]*pending
	partly   map[Test]bool // a subtest was skipped
	reasons  map[Test]string
	loose    map[string][]string // output of a package outside its tests
	out      io.Writer
	policy   Policy
}

// Policy says what a stage shows and forgives.
type Policy struct {
	EachTest bool     // a line for each test, not only for each package
	Logs     bool     // what tests say that pass, too
	Skips    []string // prefixes of the reasons for which a test may be skipped; nil forgives every skip
}

// The verdicts on a test.
const (
	Passed  = "pass"
	Failed  = "fail"
	Skipped = "skip"
)

// pending is a test that has not ended.
type pending struct {
	output  []string
	badSkip string
}

// NewStage begins a stage that shows its progress on out.
func NewStage(name string, out io.Writer, policy Policy) *Stage {
	return &Stage{
		Name: name, out: out, policy: policy,
		verdicts: map[Test]string{}, pending: map[Test]*pending{}, partly: map[Test]bool{}, reasons: map[Test]string{}, loose: map[string][]string{},
	}
}

// Problem records a failure that is no test's, and shows it.
func (s *Stage) Problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.Problems = append(s.Problems, text)
	fmt.Fprintf(s.out, "FAIL  %s: %s\n", s.Name, text)
}

// Count returns how many tests have the verdict.
func (s *Stage) Count(verdict string) int {
	n := 0
	for _, v := range s.verdicts {
		if v == verdict {
			n++
		}
	}
	return n
}

// Failures is the number of failed tests and other problems.
func (s *Stage) Failures() int { return s.Count(Failed) + len(s.Problems) }

// Has tells whether the test has the verdict in this stage.
func (s *Stage) Has(test Test, verdict string) bool { return s.verdicts[test] == verdict }

// Tests returns the tests with the verdict, sorted.
func (s *Stage) Tests(verdict string) []Test {
	var tests []Test
	for test, v := range s.verdicts {
		if v == verdict {
			tests = append(tests, test)
		}
	}
	slices.SortFunc(tests, func(a, b Test) int { return strings.Compare(a.Package+" "+a.Name, b.Package+" "+b.Name) })
	return tests
}

// PassedWhole returns the names of a package's tests that passed without a skipped subtest, sorted, and whether the package
// has no others.
func (s *Stage) PassedWhole(pkg string) (names []string, all bool) {
	others := 0
	for test, verdict := range s.verdicts {
		switch {
		case test.Package != pkg:
		case verdict == Passed && !s.partly[test]:
			names = append(names, test.Name)
		default:
			others++
		}
	}
	slices.Sort(names)
	return names, len(names) > 0 && others == 0
}

func (s *Stage) settle(test Test, verdict, reason string, seconds float64) {
	if s.verdicts[test] != Failed { // with -count, once failed is failed
		s.verdicts[test] = verdict
	}
	p := s.pending[test]
	delete(s.pending, test)
	if verdict == Failed || s.policy.EachTest {
		fmt.Fprintf(s.out, "%-4s  %s %s %s(%.2fs)\n", label(verdict), short(test.Package), test.Name, reason, seconds)
	}
	if (verdict == Failed || s.policy.Logs) && p != nil {
		fmt.Fprint(s.out, strings.Join(p.output, ""))
	}
}

func label(verdict string) string {
	if verdict == Failed {
		return "FAIL"
	}
	return verdict
}

// short drops the part of a package path that all of ours have in common.
func short(path string) string { return strings.TrimPrefix(path, "github.com/dmsnap/dmsnap/") }
