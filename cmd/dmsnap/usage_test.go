package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm"
)

func TestWrongCommandLines(t *testing.T) {
	for line, want := range map[string]string{
		"help":                           `unknown command "help"; did you mean "--help"?`,
		"creat /home":                    `unknown command "creat"; did you mean "create"?`,
		"frobnicate":                     `unknown command "frobnicate"`,
		"":                               `no command given`,
		"create":                         `name at least one device or mount point, or use --all, --recursive or --vg`,
		"show":                           `missing argument <name>`,
		"show a b":                       `unexpected argument "b"`,
		"extend nightly 10":              `extend: size "10" has no unit: write 10k, 10m, 10g, 10t or 10%`,
		"create /home --wait soon":       `--wait: "soon" is not a duration: write 30s, 5m, 2h, 2d or 1w`,
		"create /home -s 10GB":           `--size: size "10GB" is ambiguous: write 10g or 10GiB, in powers of 1024`,
		"list -o name,colour":            `list: no column is called "colour": use ` + columnNames(),
		"list --sort colour":             `list: no column is called "colour": use ` + columnNames(),
		"list --older-than=-5s":          `list: --older-than -5s is negative`,
		"remove":                         `remove: name the sets, or choose them with --label, --older-than or --all`,
		"remove a --all":                 `remove: name the sets, or choose them with --label, --older-than or --all`,
		"remove --older-than 0":          `remove: name the sets, or choose them with --label, --older-than or --all`,
		"list -q -v":                     `--quiet and --verbose exclude each other`,
		"monitor --threshold 101":        `--threshold must be between 1 and 99`,
		"monitor --flatten-depth 0":      `--flatten-depth must be at least 1`,
		"monitor --textfile /var/x":      `--textfile: the name must end in .prom (got "x")`,
		"create /home -s 10q":            `--size: size "10q" is not a number followed by k, m, g, t or %`,
		"create /home --lease sometimes": `lease "sometimes" is neither a time such as 2h, nor pid:N, nor boot`,
	} {
		var out, errs bytes.Buffer
		status := run(t.Context(), strings.Fields(line), &out, &errs, func(dm.Options) manager { return &stub{} })
		first, _, _ := strings.Cut(errs.String(), "\n")
		if status != 2 || !strings.HasPrefix(first, "dmsnap: ") || !strings.HasSuffix(first, want) {
			t.Errorf("dmsnap %s: exit %d, %q, want 2 and %q", line, status, first, want)
		}
	}
}

// TestOldFlags: what a flag was called in an earlier version is still understood.
func TestOldFlags(t *testing.T) {
	for old, line := range map[string]string{
		"remove a --fold --rate 20m":                  "remove a --flatten --rate 20m",
		"monitor --fold-depth 0":                      "monitor --flatten-depth 0",
		"monitor --fold-rate 0 --textfile /run/x.txt": "monitor --flatten-rate 0 --textfile /run/x.txt",
	} {
		var now, then bytes.Buffer
		for text, line := range map[*bytes.Buffer]string{&now: line, &then: old} {
			s := &stub{fail: map[string]error{"remove flatten a": noRoom()}}
			run(t.Context(), strings.Fields(line), text, text, func(dm.Options) manager { return s })
		}
		if now.Len() == 0 || now.String() != then.String() {
			t.Errorf("dmsnap %s says %q, dmsnap %s %q", old, then.String(), line, now.String())
		}
	}
}
