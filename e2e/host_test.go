package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormatHearsTheFormatterOnly: what Go says while it fetches and builds the formatter names no file.
func TestFormatHearsTheFormatterOnly(t *testing.T) {
	for script, want := range map[string]string{
		"echo 'go: downloading mvdan.cc/gofumpt v0.9.2' >&2":                 "",
		"echo 'go: downloading mvdan.cc/gofumpt v0.9.2' >&2; echo dm/odd.go": "not formatted:\ndm/odd.go",
		"echo 'go: no network' >&2; exit 1":                                  "go: no network",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":/usr/bin:/bin")
		if err := checkFormat(t.Context()); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
	}
}
