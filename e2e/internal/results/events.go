package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// event is what test2json prints, and `go test -json` with build output among it.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// message matches a line that a test printed about itself. The last one before a skip is its reason, unless a
// reason that counts came before: testscript prints its log after it.
var message = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)`)

// Read takes events until the stream ends.
func (s *Stage) Read(r io.Reader) error {
	for decoder := json.NewDecoder(r); ; {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("test events: %w", err)
		}
		s.take(e)
	}
}

func (s *Stage) take(e event) {
	switch {
	case e.Action == "build-output":
		fmt.Fprint(s.out, e.Output)
	case e.Package == "":
	case e.Test == "":
		s.takePackage(e)
	default:
		s.takeTest(e)
	}
}

func (s *Stage) takeTest(e event) {
	top, _, isSub := strings.Cut(e.Test, "/")
	test := Test{e.Package, top}
	p := s.pending[test]
	if p == nil {
		if e.Action != "run" {
			return // the tail of a test that has its verdict
		}
		p = &pending{}
		s.pending[test] = p
	}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") { // whose line it is follows from the order
			p.output = append(p.output, e.Output)
		}
		name := Test{e.Package, e.Test}
		if match := message.FindStringSubmatch(e.Output); match != nil && (s.policy.Skips == nil || !s.forgives(s.reasons[name])) {
			s.reasons[name] = match[1]
		}
	case Skipped:
		s.takeSkip(e, test, isSub)
	case Passed, Failed:
		switch {
		case isSub:
		case p.badSkip != "":
			s.settle(test, Failed, p.badSkip, e.Elapsed)
		default:
			s.settle(test, e.Action, "", e.Elapsed)
		}
	}
}

func (s *Stage) takeSkip(e event, test Test, isSub bool) {
	if isSub {
		s.partly[test] = true
	}
	reason := s.reasons[Test{e.Package, e.Test}]
	bad := ""
	if !s.forgives(reason) {
		bad = fmt.Sprintf("must not be skipped here: %q ", reason)
	}
	switch {
	case isSub && bad != "":
		s.pending[test].badSkip = e.Test + " " + bad
	case isSub:
	case bad != "":
		s.settle(test, Failed, bad, e.Elapsed)
	default:
		s.settle(test, Skipped, fmt.Sprintf("%q ", reason), e.Elapsed)
	}
}

func (s *Stage) forgives(reason string) bool {
	return s.policy.Skips == nil || slices.ContainsFunc(s.policy.Skips, func(prefix string) bool {
		return strings.HasPrefix(reason, prefix)
	})
}

// takePackage handles the events of a package as a whole. A package that ends takes its unfinished tests with it:
// a panic, an exit or a kill leaves them without a verdict.
func (s *Stage) takePackage(e event) {
	switch e.Action {
	case "output":
		s.loose[e.Package] = append(s.loose[e.Package], e.Output)
	case Passed, Failed, Skipped:
		unfinished := s.Finish(e.Package)
		if e.Action == Failed && (unfinished || !s.hasFailure(e.Package)) {
			fmt.Fprint(s.out, strings.Join(s.loose[e.Package], ""))
			if !s.hasFailure(e.Package) {
				s.Problem("%s failed outside its tests", short(e.Package))
			}
		}
		if !s.policy.EachTest && e.Action != Skipped {
			fmt.Fprintf(s.out, "%-4s  %s (%.2fs)\n", label(e.Action), short(e.Package), e.Elapsed)
		}
	}
}

// Finish settles the tests of the package that never ended, as failed, and tells whether there were any.
func (s *Stage) Finish(pkg string) (any bool) {
	for test := range s.pending {
		if test.Package == pkg {
			s.settle(test, Failed, "did not end ", 0)
			any = true
		}
	}
	return any
}

func (s *Stage) hasFailure(pkg string) bool {
	return slices.ContainsFunc(s.Tests(Failed), func(t Test) bool { return t.Package == pkg })
}
