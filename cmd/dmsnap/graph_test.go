package main

import (
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/dm/dmtest"
)

// onHost runs command lines on a host in memory; they share its state.
func onHost(h *dmtest.Host, lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		var out strings.Builder
		exit := run(context.Background(), strings.Fields(line), &out, &out, func(dm.Options) manager { return h.Manager() })
		b.WriteString("$ dmsnap " + line + "\n" + out.String())
		if exit != 0 {
			fmt.Fprintf(&b, "exit %d\n", exit)
		}
	}
	return b.String()
}

// sameAsFile compares with a file of testdata/golden, or writes it.
func sameAsFile(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got (go test -update writes it anew):\n%s", name, diff)
	}
}

// invalidSet is a host with a mounted set of two volumes, one of which is lost.
func invalidSet(t *testing.T) *dmtest.Host {
	t.Helper()
	h := dmtest.Database()
	if _, err := h.Manager().Create(t.Context(), h.Request("nightly")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Manager().Mount(t.Context(), "nightly", "/mnt"); err != nil {
		t.Fatal(err)
	}
	h.Invalidate("dmsnap-nightly-vg-log")
	return h
}

func TestGraphOfHost(t *testing.T) {
	h := invalidSet(t)
	sameAsFile(t, "graph-host.out", onHost(h, "graph", "graph nightly", "graph /var/lib/db", "graph /dev/vdd", "graph weekly", "graph /nowhere"))
	sameAsFile(t, "graph-host.dot", strings.TrimPrefix(onHost(h, "graph -f dot"), "$ dmsnap graph -f dot\n"))
	svg := strings.TrimPrefix(onHost(h, "graph -f svg"), "$ dmsnap graph -f svg\n")
	sameAsFile(t, "graph-host.svg", svg)
	wellFormed(t, svg)
}

// wellFormed reads XML to its end.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

// TestGraphHostileNames: names from outside stay inside their quotes and tags.
func TestGraphHostileNames(t *testing.T) {
	g := sampleGraph()
	for i := range g.Nodes {
		g.Nodes[i].Name = "a\"<b>&\\\n\x1b" + strings.Repeat("é", 60)
	}
	m := &stub{graph: g}
	wellFormed(t, do(t, m, "graph", "-f", "svg").stdout)
	for _, line := range strings.Split(do(t, m, "graph", "-f", "dot").stdout, "\n") {
		if open := strings.Count(strings.NewReplacer(`\\`, "", `\"`, "").Replace(line), `"`); open%2 != 0 {
			t.Errorf("quotes do not match: %s", line)
		}
	}
	if out := do(t, m, "graph").stdout; strings.ContainsRune(out, '\x1b') {
		t.Errorf("escape sequences: %q", out)
	}
}

func TestGraphFormatsExcludeJSON(t *testing.T) {
	if o := do(t, &stub{graph: sampleGraph()}, "graph", "--json", "--format", "svg"); o.exit != 2 {
		t.Error(o)
	}
}
