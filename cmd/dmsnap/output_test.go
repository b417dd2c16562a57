package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestPlain(t *testing.T) {
	created, zero := at("2026-01-01T01:00:00+01:00"), uint64(0)
	for want, v := range map[string]any{
		`"created":"2026-01-01T00:00:00Z"`: dm.Set{Created: &created}, `"start":"2026-01-01T00:00:00Z"`: dm.Receipt{Start: created},
		`"created":null`: dm.Set{}, `"receipt":null`: dm.Set{}, `"receipt":{"consistency":null`: dm.Set{Receipt: &dm.Receipt{}},
		`"labels":{}`: dm.Set{}, `"labels":{"a":""}`: dm.Set{Labels: map[string]string{"a": ""}}, `"volumes":[{"name":"x"`: dm.Set{Volumes: []dm.Volume{{Name: "x"}}},
		`"frozen":[]`: dm.Receipt{}, `"steps":[]`: dm.Receipt{}, `"window_us":0`: dm.Receipt{}, `"mountpoints":[]`: dm.Volume{}, `"writable":false`: dm.Volume{},
		`"fstype":null`: dm.Volume{}, `"devno":null`: dm.Volume{}, `"origin_devno":null`: dm.Volume{}, `"size_bytes":null,"chunk_bytes":null`: dm.Volume{},
		`"kind":null,"path":null,"size_bytes":null,"used_bytes":null`: dm.Volume{}, `"used_bytes":0`: dm.Store{UsedBytes: &zero},
		`"kernel":null,"dm":null`: dm.Report{}, `"version":null`: dm.TargetReport{}, `"devno":null,"redirector":"none"`: dm.OriginReport{Redirector: "none"},
		`"device":null}`: dm.PlanStep{}, `"device":null,"undo":"<x>"}`: dm.PlanStep{Table: []string{}, Undo: "<x>"}, `"hint":null}`: dm.Failure{},
	} {
		var buf bytes.Buffer
		if err := encode(&buf, "items", v); err != nil || !strings.Contains(buf.String(), want) {
			t.Errorf("no %s in %s, %v", want, buf.String(), err)
		}
	}
}

// What is printed is read back as what it was made from.
func TestPlainReadsBack(t *testing.T) {
	for _, s := range []*dm.Set{nightly(), orphan()} {
		var buf bytes.Buffer
		if err := encode(&buf, "sets", []dm.Set{*s}); err != nil {
			t.Fatal(err)
		}
		var got struct{ Sets []dm.Set }
		if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]dm.Set{*s}, got.Sets, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(dm.Volume{})); diff != "" {
			t.Error(diff)
		}
	}
}

// Whatever happens, stdout holds one JSON object with --json, of a list several, and the
// only key of each beside the version is plural or "error".
func TestOneObject(t *testing.T) {
	for name, g := range goldens() {
		o := do(t, &g.stub, append(strings.Fields(g.args), "-J")...)
		isList := strings.HasPrefix(name, "changed") || strings.HasPrefix(name, "allocated")
		if lines := strings.Count(o.stdout, "\n"); lines == 0 || lines > 1 && !isList {
			t.Errorf("%s: %d lines\n%s", name, lines, o)
		}
		for line := range strings.Lines(o.stdout) {
			var object map[string]json.RawMessage
			if err := json.Unmarshal([]byte(line), &object); err != nil {
				t.Errorf("%s: %v\n%s", name, err, o)
			}
			if string(object["schema_version"]) != "1" || len(object) != 2 {
				t.Errorf("%s: %s", name, line)
			}
			for key := range object {
				if key != "schema_version" && key != "error" && !strings.HasSuffix(key, "s") {
					t.Errorf("%s: key %s", name, key)
				}
			}
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A result that cannot be written is an error; one of a change that was made
// says so.
func TestOutputFails(t *testing.T) {
	m := &stub{set: nightly(), recovers: &dm.Recovered{}, report: sampleReport(), plan: samplePlan(), sets: []dm.Set{*nightly()}}
	for line, want := range map[string]int{
		"list": 1, "show a": 1, "doctor": 1, "version": 1, "--version": 1, "--help": 1, "create --help": 1, "create /a --dry-run": 1,
		"create /a": 10, "recover": 10, "mount a /b": 10, "umount a --json": 10, "remove a --json": 10,
	} {
		var stderr bytes.Buffer
		exit := run(t.Context(), strings.Fields(line), fullDisk{}, &stderr, func(dm.Options) manager { return m })
		if exit != want || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%s: exit %d\n%s", line, exit, stderr.String())
		}
	}
}

func TestWantsJSON(t *testing.T) {
	for line, want := range map[string]bool{
		"": false, "list": false, "list --json": true, "-J list": true, "list -vJ": true, "list -- --json": false, "list -J --json=false": false,
		"list --json=true": true, "create -nJ /x": false, "list -": false, "-vv": false, "J": false,
	} {
		if got := wantsJSON(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestOptions(t *testing.T) {
	var got dm.Options
	open := func(o dm.Options) manager { got = o; return &stub{} }
	for line, want := range map[string]string{"list": dm.DefaultStateDir, "list --state-dir /x": "/x", "--state-dir=/y list": "/y"} {
		if run(t.Context(), strings.Fields(line), io.Discard, io.Discard, open) != 0 || got.StateDir != want || got.Logger == nil {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// Help, versions and wrong command lines open no manager.
func TestNoManager(t *testing.T) {
	open := func(dm.Options) manager { t.Error("manager opened"); return &stub{} }
	for _, line := range []string{"--help", "create --help", "remove -h", "--version", "show", "x", "list --x"} {
		run(t.Context(), strings.Fields(line), io.Discard, io.Discard, open)
	}
}

func TestHumanText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 64 << 10: "64 KiB", 1<<20 - 1: "1.0 MiB", 10 << 20: "10 MiB", 1 << 30: "1 GiB",
		3 << 29: "1.5 GiB", 1000 << 30: "1000 GiB", 1 << 40: "1 TiB", ^uint64(0): "16 EiB", 1025: "1.0 KiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for _, tt := range []struct {
		used, size uint64
		want       string
	}{{0, 100, "0%"}, {1, 1000, "<1%"}, {999, 1000, "99%"}, {5, 5, "100%"}, {1, 0, "-"}} {
		if got := percent(tt.used, tt.size); got != tt.want {
			t.Errorf("%d of %d: %s, want %s", tt.used, tt.size, got, tt.want)
		}
	}
	for in, want := range map[string]string{
		"/home": "/home", "/mnt/äö": "/mnt/äö", "a\nb": `a\nb`, "a\tb": `a\tb`, "\x1b[31m": `\x1b[31m`, "\xff": `\xff`, "": "", "a\"b\n": `a"b\n`, "\u202e": `\u202e`,
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := timeText(nil); got != "-" {
		t.Error(got)
	}
	now := time.Date(2026, 1, 1, 1, 0, 0, 5, time.FixedZone("", 3600))
	if got := timeText(&now); got != "2026-01-01 00:00:00 +0000" {
		t.Error(got)
	}
}
