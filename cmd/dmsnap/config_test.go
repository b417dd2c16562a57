package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	got, err := parseConfig([]byte(sampleConfig))
	if err != nil {
		t.Fatal(err)
	}
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
		if n := strings.Count(string(text), "["); len(p.Origins) > n {
			t.Errorf("%d sections of %d", len(p.Origins), n)
		}
	})
}
