package results

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// feed gives a stage events of package p, written as "action test output".
func feed(t *testing.T, stage *Stage, lines ...string) {
	t.Helper()
	var stream bytes.Buffer
	for _, line := range lines {
		fields := append(strings.SplitN(line, " ", 3), "", "")
		e := event{Action: fields[0], Package: "p", Test: fields[1], Output: fields[2]}
		if err := json.NewEncoder(&stream).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := stage.Read(&stream); err != nil {
		t.Fatal(err)
	}
}

func TestLogsOfThosePassed(t *testing.T) {
	for _, logs := range []bool{false, true} {
		var out bytes.Buffer
		feed(t, NewStage("s", &out, Policy{Logs: logs}), "run T", "output T so long\n", "pass T", "pass")
		if shown := strings.Contains(out.String(), "so long"); shown != logs {
			t.Errorf("logs wanted: %v, shown: %v", logs, shown)
		}
	}
}

func TestVerdicts(t *testing.T) {
	skip := []string{"run T", "output T     a_test.go:3: needs other kernel: 6.12\n", "skip T", "pass"}
	script := slices.Insert(slices.Clone(skip), 2, "output T     testscript.go:609: WORK=$WORK\n")
	bad := []string{"run T", "output T     a_test.go:3: no dmsetup\n", "skip T", "pass"}
	sub := []string{"run T", "run T/s", "output T/s         a_test.go:3: later\n", "skip T/s", "pass T", "pass"}
	for _, c := range []struct {
		name                    string
		events                  []string
		passed, failed, skipped int
		problems                int
		shown                   string
	}{
		{"pass", []string{"run T", "output T boring\n", "pass T", "pass"}, 1, 0, 0, 0, "pass  p T"},
		{"subtests are not counted", []string{"run T", "run T/s", "pass T/s", "pass T", "pass"}, 1, 0, 0, 0, ""},
		{"fail shows output", []string{"run T", "output T why\n", "fail T", "fail"}, 0, 1, 0, 0, "why\n"},
		{"allowed skip", skip, 0, 0, 1, 0, "skip  p T \"needs other kernel: 6.12\""},
		{"allowed skip with a log", script, 0, 0, 1, 0, "skip  p T \"needs other kernel: 6.12\""},
		{"forbidden skip", bad, 0, 1, 0, 0, "must not be skipped here: \"no dmsetup\""},
		{"forbidden skip of a subtest", sub, 0, 1, 0, 0, "T/s must not be skipped"},
		{"panic", []string{"run T", "output T panic: x\n", "fail"}, 0, 1, 0, 0, "did not end"},
		{"broken package", []string{"output  no such flag\n", "fail"}, 0, 0, 0, 1, "no such flag"},
		{"tail of a test", []string{"run T", "pass T", "output T more\n", "pass"}, 1, 0, 0, 0, ""},
		{"failed once", []string{"run T", "fail T", "run T", "pass T", "fail"}, 0, 1, 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			stage := NewStage("s", &out, Policy{EachTest: true, Skips: []string{"needs other kernel:"}})
			feed(t, stage, c.events...)
			got := []int{stage.Count(Passed), stage.Count(Failed), stage.Count(Skipped), len(stage.Problems)}
			for i, want := range []int{c.passed, c.failed, c.skipped, c.problems} {
				if got[i] != want {
					t.Errorf("counts %v, number %d should be %d", got, i, want)
				}
			}
			if !strings.Contains(out.String(), c.shown) {
				t.Errorf("%q is not shown in:\n%s", c.shown, &out)
			}
		})
	}
}

func TestPassedWhole(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		want   []string
		all    bool
	}{
		{"all", []string{"run U", "pass U", "run T", "run T/s", "pass T/s", "pass T", "pass"}, []string{"T", "U"}, true},
		{"another is skipped", []string{"run T", "pass T", "run U", "skip U", "pass"}, []string{"T"}, false},
		{"another fails", []string{"run T", "pass T", "run U", "fail U", "fail"}, []string{"T"}, false},
		{"a subtest is skipped", []string{"run T", "run T/s", "skip T/s", "pass T", "pass"}, nil, false},
		{"nothing ran", []string{"output  does not compile\n", "fail"}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			stage := NewStage("host", &bytes.Buffer{}, Policy{})
			feed(t, stage, c.events...)
			if got, all := stage.PassedWhole("p"); !slices.Equal(got, c.want) || all != c.all {
				t.Errorf("got %v, all %v; want %v, %v", got, all, c.want, c.all)
			}
			if got, all := stage.PassedWhole("other"); got != nil || all {
				t.Errorf("another package: %v, %v", got, all)
			}
		})
	}
}

func TestReadRefusesNonsense(t *testing.T) {
	if err := NewStage("s", &bytes.Buffer{}, Policy{}).Read(strings.NewReader("ok p 0.1s\n")); err == nil {
		t.Error("no error")
	}
}

func TestSummary(t *testing.T) {
	var out bytes.Buffer
	host, old, recent := NewStage("host", &out, Policy{}), NewStage("old", &out, Policy{}), NewStage("new", &out, Policy{})
	feed(t, host, "run Pure", "pass Pure", "run Real", "skip Real", "run Never", "skip Never", "pass")
	feed(t, old, "run Pure", "pass Pure", "run Real", "pass Real", "run Never", "skip Never", "pass")
	feed(t, recent, "run Pure", "pass Pure", "run Real", "fail Real", "fail")
	lint := NewStage("lint", &out, Policy{})
	lint.Problem("vet: bad\nsecond line")
	summary := Summary{Host: host, Others: []*Stage{lint}, Guests: []*Stage{old, recent}}
	if got := summary.Real(old); got != 1 {
		t.Errorf("%d tests needed the guest, want 1", got)
	}
	var text bytes.Buffer
	if err := summary.Print(&text); err != nil {
		t.Fatal(err)
	}
	if want := "\n4 passed, 2 failed, 1 skipped\n"; !strings.HasSuffix(text.String(), want) {
		t.Errorf("want %q at the end of:\n%s", want, &text)
	}
	if !strings.Contains(text.String(), "FAIL  lint: vet: bad\n") {
		t.Errorf("the failure is not repeated:\n%s", &text)
	}
}
