package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/google/go-cmp/cmp"
)

// someSets have ages of 1 h, 3 d and 10 d at the time of do, and one is known by its devices
// only.
func someSets() []dm.Set {
	taken := func(age time.Duration) *time.Time { return new(at("2026-11-20T13:00:00.5Z").Add(-age)) }
	used := func(n uint64) []dm.Volume {
		return []dm.Volume{{Origin: "/dev/mapper/vg-x", State: dm.StateActive, SizeBytes: n << 30, Store: dm.Store{SizeBytes: 100, UsedBytes: &n}}}
	}
	return []dm.Set{
		{Name: "b", Created: taken(72 * time.Hour), State: dm.StateActive, Labels: map[string]string{"job": "7"}, Volumes: used(50)},
		{Name: "a", Created: taken(time.Hour), State: dm.StateInvalid, Labels: map[string]string{"job": "7", "x": "1"}, Volumes: used(9)},
		{Name: "held", Created: taken(240 * time.Hour), State: dm.StateActive, Labels: map[string]string{"job": "8"}, Lease: &dm.LeaseState{Held: true}, Volumes: used(70)},
		{Name: "c", Created: taken(240 * time.Hour), State: dm.StateActive, Volumes: used(70)},
		{Name: "mark", Created: taken(240 * time.Hour), State: dm.StateActive, Bookmark: true},
		{Name: "layer-1", Created: taken(240 * time.Hour), State: dm.StateActive, Layer: true},
		*orphan(),
	}
}

func TestListChooses(t *testing.T) {
	for line, want := range map[string]string{
		"list -o name":                             "b a held c mark layer-1 DMSNAP-77",
		"ls -o name --sort name":                   "DMSNAP-77 a b c held layer-1 mark",
		"list -o name --sort age":                  "a b held c mark layer-1 DMSNAP-77",
		"list -o name --sort=-age":                 "DMSNAP-77 held c mark layer-1 b a",
		"list -o name --sort=-used":                "held c b a mark layer-1 DMSNAP-77",
		"list -o name --sort size":                 "mark layer-1 DMSNAP-77 a b held c",
		"list -o name --label job":                 "b a held",
		"list -o name --label job=7 --label x":     "a",
		"list -o name --label job=9":               "",
		"list -o name --older-than 2d":             "b held c mark layer-1",
		"list -o name --older-than 1w --label job": "held",
	} {
		o := do(t, &stub{sets: someSets()}, strings.Fields(line)...)
		names := strings.Fields(o.stdout)
		if o.exit != 0 || len(names) == 0 && want != "" || len(names) > 0 && strings.Join(names[1:], " ") != want {
			t.Errorf("%s: %s, want %s", line, o, want)
		}
	}
}

// TestListColumns: every column has something to say, and -o + adds to the usual ones.
func TestListColumns(t *testing.T) {
	o := do(t, &stub{sets: []dm.Set{*leased()}}, "list", "-o", "+created,consistency,labels,uuid,store,volumes,persistent")
	rows := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if len(rows) != 2 {
		t.Fatal(o)
	}
	for _, c := range columns() {
		if !slices.Contains(strings.Fields(rows[0]), strings.ToUpper(c.name)) {
			t.Errorf("no %s in %s", c.name, rows[0])
		}
	}
	for _, want := range []string{"nightly", "overflow", "/home", "/mnt", "3h", "2.5 GiB", "5%", "on hold", "2026-11-20 10:00:00 +0000", "job=7"} {
		if !strings.Contains(rows[1], want) {
			t.Errorf("no %q in %s", want, rows[1])
		}
	}
}

// TestListColour: what is bad is red, the columns stay aligned, and JSON has no colour.
func TestListColour(t *testing.T) {
	var out, errs strings.Builder
	sets := &stub{sets: someSets()}
	run(t.Context(), []string{"list", "-o", "state,name"}, &out, &errs, func(dm.Options) manager { return sets }, func(e *Env) { e.Colour = true })
	plain := strings.NewReplacer("\x1b[31m", "", "\x1b[39m", "", "\x1b[0m", "").Replace(out.String())
	if want := do(t, sets, "list", "-o", "state,name").stdout; plain != want || !strings.Contains(out.String(), "\x1b[31minvalid\x1b[0m") {
		t.Errorf("%q, without colour %q", out.String(), want)
	}
	out.Reset()
	run(t.Context(), []string{"list", "--json"}, &out, &errs, func(dm.Options) manager { return sets }, func(e *Env) { e.Colour = true })
	if strings.Contains(out.String(), "[31m") {
		t.Error(out.String())
	}
}

// TestRemoveChooses: from old to new, and neither what is on hold nor a layer.
func TestRemoveChooses(t *testing.T) {
	for line, want := range map[string][]string{
		"remove --all":                {"c", "b", "a", "DMSNAP-77"},
		"rm --older-than 2d":          {"c", "b"},
		"remove --label job":          {"b", "a"},
		"remove --label job=8":        nil,
		"remove --label job=7 --json": {"b", "a"},
	} {
		m := &stub{sets: someSets()}
		o := do(t, m, strings.Fields(line)...)
		var removed []string
		for _, c := range m.calls {
			if name, found := strings.CutPrefix(c, "remove "); found {
				removed = append(removed, name)
			}
		}
		if diff := cmp.Diff(want, removed); diff != "" || o.exit != 0 {
			t.Errorf("%s: %s%s", line, diff, o)
		}
		for _, name := range want {
			if !strings.Contains(o.stdout, name) {
				t.Errorf("%s does not say that %s was removed: %s", line, name, o)
			}
		}
		planned := &stub{sets: someSets(), plan: samplePlan()}
		o = do(t, planned, append(strings.Fields(line), "--dry-run")...)
		if o.exit != 0 || slices.ContainsFunc(planned.calls, func(c string) bool { return strings.HasPrefix(c, "remove ") }) {
			t.Errorf("%s --dry-run: %q", line, planned.calls)
		}
	}
}
