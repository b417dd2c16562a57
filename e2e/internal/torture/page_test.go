package torture

import (
	"strings"
	"testing"
)

// TestPage: kernels that agree have one word, others one each.
func TestPage(t *testing.T) {
	const log = `=== RUN   TestTortureSteps
    torture_test.go:9: torture | create one | 1 | prepare: create x | kill | before
    torture_test.go:9: torture | create one | 1 | prepare: create x | inside | %s
    torture_test.go:9: torture | create one | 2 | finish: settle | stop | after
--- PASS
`
	var p Page
	for kernel, inside := range map[string]string{"6.1": "before", "6.12": "after"} {
		if err := p.Add(kernel, strings.NewReader(strings.Replace(log, "%s", inside, 1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Add("7.2", strings.NewReader("torture | create two | 1 | prepare: create y | kill | before\n")); err != nil {
		t.Fatal(err)
	}
	text := string(p.Text())
	if strings.Contains(text, "(7.2)") || strings.Contains(text, "| create two | 1 | 6.1 |") {
		t.Errorf("a kernel that an operation was not run on is in its table:\n%s", text)
	}
	for _, want := range []string{
		"## Create one\n", "| 1 | `prepare: create x` | before |", "before (6.1)", "after (6.12)", "| 2 | `finish: settle` |  |  | after |  |\n",
		"| 1 | `prepare: create y` | before |", "| create one | 2 | 6.1 | 1 before | 1 before | 1 after |  |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if err := p.Add("bad", strings.NewReader("torture | no number | x | y | z | w")); err == nil {
		t.Error("a line that is none was read")
	}
}
