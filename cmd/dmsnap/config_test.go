package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/google/go-cmp/cmp"
)

const sampleConfig = `# stores
store = /dev/vg/snap
store = file:/srv/snap
reserve = 10%

[ /home ]
limit = 5g
chunk=16k
; the rest as for all
[LABEL=data]
store=ram:512m
`

func TestParseConfig(t *testing.T) {
	c, err := parseConfig([]byte(sampleConfig))
	if err != nil {
		t.Fatal(err)
	}
	got := c.policy()
	want := dm.Policy{
		OriginPolicy: dm.OriginPolicy{Stores: []string{"/dev/vg/snap", "file:/srv/snap"}, Reserve: dm.Size{Percent: 10}},
		Origins: map[string]dm.OriginPolicy{
			"/home":      {Limit: dm.Size{Bytes: 5 << 30}, ChunkBytes: 16 << 10},
			"LABEL=data": {Stores: []string{"ram:512m"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestConfigErrors name the line.
func TestConfigErrors(t *testing.T) {
	for text, says := range map[string]string{
		"store":                          "1: \"store\" is not KEY = VALUE",
		"\nstore =":                      "2: \"store =\" is not",
		"= x":                            "1: \"= x\" is not",
		"stores = /dev/vdc":              "1: unknown key \"stores\"",
		"store = auto":                   "1: \"auto\" is not a store",
		"store = vdc":                    "1: \"vdc\" is not a store",
		"limit = 5":                      "1: size \"5\" has no unit",
		"chunk = 3k":                     "1: chunk size 3k is not a power of two",
		"chunk = 4%":                     "1: chunk size 4% is not a power of two",
		"reserve = 1g\nreserve = 2g":     "2: reserve is given twice",
		"# x\n\n[/home":                  "3: \"[/home\" is not a section",
		"[]":                             "1: \"[]\" is not a section",
		"[home]":                         "1: \"home\" is not an origin",
		"[/home]\n[/srv]\n[/home]":       "3: section [/home] is given twice",
		"[monitor]\nstore = /dev/vdc":    "2: unknown key \"store\": use an option of dmsnap monitor",
		"[monitor]\nlimit=1g\nlimit=2g":  "3: limit is given twice",
		"[monitor]\n[/a]\n[monitor]":     "3: section [monitor] is given twice",
		"limit = 1g\n[/home]\nlimit = x": "3: size \"x\"",
	} {
		_, err := parseConfig([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%q: %v, want %s", text, err, says)
		}
	}
}

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none")
	if _, err := readConfig(missing); dm.CodeOf(err) != dm.CodeUsage {
		t.Errorf("a file that is named and missing: %v", err)
	}
	path := filepath.Join(dir, "conf")
	if err := os.WriteFile(path, []byte("\nx = y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(path); dm.CodeOf(err) != dm.CodeUsage || !strings.Contains(err.Error(), path+":2: ") {
		t.Errorf("%v does not name file and line", err)
	}
	if err := os.WriteFile(path, make([]byte, maxConfig+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(path); err == nil {
		t.Error("a file of any size is read")
	}
}

// FuzzConfig: nothing makes the parser fail but with an error that names a line, and what it takes it takes whole.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(sampleConfig))
	f.Add([]byte("[/a]\r\nlimit=1k\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseConfig(text)
		if err != nil {
			if err.Error()[0] < '0' || err.Error()[0] > '9' {
				t.Errorf("%v names no line", err)
			}
			return
		}
		if n := strings.Count(string(text), "["); len(p.origins) > n {
			t.Errorf("%d sections of %d", len(p.origins), n)
		}
	})
}

// TestMonitorConfig: the section says what flags do not; they have the last word.
func TestMonitorConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dmsnap.conf")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("store = ram\n[monitor]\nthreshold = 55\nlimit = 30%\nspill = /dev/vdd\nspill = /dev/vde\ninterval = 3s\nflatten-rate = 1m\n[/home]\nlimit = 1g\n")
	m := &stub{}
	if o := do(t, m, "monitor", "--config", path, "--limit", "2g"); o.exit != 0 {
		t.Fatal(o)
	}
	want := dm.MonitorRequest{
		Threshold: 55, Limit: dm.Size{Bytes: 2 << 30}, Spill: []string{"/dev/vdd", "/dev/vde"}, Interval: 3 * time.Second,
		FlattenDepth: 16, FlattenRate: 1 << 20,
	}
	got := m.monitor
	got.Events, got.Look = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, text := range []string{"[monitor]\nthreshold = x\n", "[monitor]\nthreshold = 0\n", "[monitor]\nx = 1\n"} {
		write(text)
		m := &stub{}
		if o := do(t, m, "monitor", "--config", path); o.exit != 2 || len(m.calls) > 0 {
			t.Errorf("%q: %s", text, o)
		}
		if o := do(t, m, "list", "--config", path); o.exit != 0 {
			t.Errorf("%q keeps others from working: %s", text, o)
		}
	}
	app := model(t)
	flags := app.Children[slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == "monitor" })].Flags
	for _, f := range visible(flags) {
		if !slices.Contains(monitorKeys, f.Name) {
			t.Errorf("--%s of monitor is no key", f.Name)
		}
	}
	if len(monitorKeys) != len(visible(flags)) {
		t.Errorf("keys %q", monitorKeys)
	}
}
