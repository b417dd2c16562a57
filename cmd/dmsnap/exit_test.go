package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm"
)

// The numbers are a promise: they stand here a second time on purpose.
func TestExitStatus(t *testing.T) {
	for code, want := range map[dm.Code]int{
		dm.CodeFailed: 1, dm.CodeUsage: 2, dm.CodeLocked: 3, dm.CodeNotFound: 4, dm.CodeBusy: 5, dm.CodeNoSpace: 6,
		dm.CodeUnsupported: 7, dm.CodeFreeze: 8, dm.CodeDegraded: 9, dm.CodePartial: 10, dm.CodeUnrecovered: 11, dm.CodeFullRequired: 12, dm.CodeExists: 2,
		"": 1, "unheard_of": 1,
	} {
		err := fmt.Errorf("outer: %w", &dm.Error{Op: "x", Code: code, Err: errors.New("y")})
		if got := exitOf(err); got != want {
			t.Errorf("%s: exit %d, want %d", code, got, want)
		}
	}
	if got := exitOf(nil); got != 0 {
		t.Errorf("success: exit %d", got)
	}
	if got := exitOf(context.Canceled); got != 1 {
		t.Errorf("no code: exit %d", got)
	}
}

func TestExitStatusDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	table, _, _ := strings.Cut(string(doc), "\n## Messages\n")
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| exit") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	all := statuses()
	if len(rows) != len(all) {
		t.Fatalf("%d rows for %d statuses", len(rows), len(all))
	}
	for i, s := range all {
		code := ""
		if s.code != "" {
			code = "`" + string(s.code) + "` "
		}
		if s.also != "" {
			code = "`" + string(s.code) + "`, `" + string(s.also) + "` "
		}
		if want := fmt.Sprintf("| %d | %s| %s |", s.exit, code, s.meaning); rows[i] != want {
			t.Errorf("got  %s\nwant %s", rows[i], want)
		}
	}
}

func TestExitStatusHelp(t *testing.T) {
	help := do(t, nil, "--help").stdout
	for _, s := range statuses() {
		if want := fmt.Sprintf("\n  %2d  %s\n", s.exit, s.meaning); !strings.Contains(help, want) {
			t.Errorf("--help lacks %q", want)
		}
	}
}
