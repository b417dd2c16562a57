package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/google/go-cmp/cmp"
)

// goldens are command lines with a stub behind them. Each runs twice, as text
// and as JSON.
func goldens() map[string]struct {
	args string
	stub stub
} {
	type row = struct {
		args string
		stub stub
	}
	crash := nightly()
	crash.Receipt.Consistency, crash.Receipt.Frozen, crash.Receipt.Unproven = dm.Crash, nil, []string{"/boot/efi"}
	lesser := sampleReport()
	lesser.Origins, lesser.Problems = nil, []dm.Problem{{Message: "udev is not running", Hint: "nothing to do"}}
	notFound := &dm.Error{Op: "show", Set: "x", Code: dm.CodeNotFound, Err: errors.New("no such set")}
	unsupported := &dm.Error{
		Op: "list", Code: dm.CodeUnsupported, Device: "/dev/mapper/control",
		Err: errors.New("open /dev/mapper/control: no such file or directory"), Hint: "modprobe dm_mod",
	}
	return map[string]row{
		"create":                {"create /home /srv", stub{set: nightly()}},
		"create-degraded":       {"create /home /srv", stub{set: crash}},
		"create-crash-asked":    {"create /home --consistency crash", stub{set: crash}},
		"create-dry-run":        {"create /home --dry-run", stub{plan: samplePlan()}},
		"create-unclassified":   {"create /home", stub{err: errors.New("two\nlines")}},
		"list":                  {"list", stub{sets: []dm.Set{*nightly(), *orphan()}}},
		"list-empty":            {"list", stub{}},
		"list-unsupported":      {"list", stub{err: unsupported}},
		"show":                  {"show nightly", stub{set: nightly()}},
		"show-orphan":           {"show DMSNAP-77", stub{set: orphan()}},
		"show-not-found":        {"show x", stub{err: notFound}},
		"mount":                 {"mount nightly /mnt", stub{mounts: []dm.Mounted{{Volume: "vg-home", Device: "/dev/mapper/dmsnap-nightly-vg-home", Path: "/mnt", FSType: "xfs", Options: "ro,nouuid"}}}},
		"umount":                {"umount nightly", stub{}},
		"changed":               {"changed b/vg-home --since a", stub{extents: sampleExtents(nil)}},
		"changed-breaks":        {"changed b --since a", stub{extents: sampleExtents(fullRequired())}},
		"changed-full":          {"changed b --since a --from 65536", stub{err: fullRequired()}},
		"changed-since":         {"changed b", stub{}},
		"allocated":             {"allocated b", stub{extents: sampleAllocated()}},
		"attach":                {"attach /", stub{}},
		"attach-layer":          {"attach / --layer=linear", stub{}},
		"detach":                {"detach /dev/vda1", stub{}},
		"extend":                {"extend nightly +10%", stub{set: nightly()}},
		"extend-dry-run":        {"extend nightly 20g --dry-run", stub{plan: samplePlan()}},
		"extend-bare-size":      {"extend nightly +10", stub{}},
		"monitor":               {"monitor --threshold 60", stub{notices: []dm.Event{sampleEvent()}}},
		"monitor-usage":         {"monitor --textfile /x", stub{}},
		"remove":                {"remove a b", stub{}},
		"remove-dry-run":        {"remove a b --dry-run", stub{plan: samplePlan()}},
		"remove-busy":           {"remove nightly", stub{fail: map[string]error{"remove nightly": busy()}}},
		"remove-partial":        {"remove a nightly", stub{fail: map[string]error{"remove nightly": busy()}}},
		"remove-flatten":        {"remove a b --flatten --rate 20m", stub{}},
		"remove-flatten-room":   {"remove nightly --flatten", stub{fail: map[string]error{"remove flatten nightly": noRoom()}}},
		"remove-rate":           {"remove a --rate 20m", stub{}},
		"remove-twice":          {"remove a a", stub{}},
		"prune":                 {"prune --label job=7 --keep daily:7", stub{pruned: samplePruned()}},
		"prune-busy":            {"prune --label job=7 --keep daily:7", stub{pruned: samplePruned(), err: busy()}},
		"prune-what":            {"prune --keep daily:7", stub{}},
		"recover":               {"recover", stub{recovers: &dm.Recovered{Sets: []string{"nightly"}}}},
		"recover-ended":         {"recover", stub{recovers: endedSets()}},
		"recover-nothing":       {"recover", stub{recovers: &dm.Recovered{}}},
		"hold":                  {"hold nightly", stub{set: leased()}},
		"unpin":                 {"unpin", stub{unpinned: []dm.Unpinned{{File: "/home/.dmsnap/5e7.0"}}}},
		"thaw":                  {"thaw", stub{thaws: &dm.Thawed{Resumed: []string{"vg-home"}, Thawed: []string{"/home"}}}},
		"thaw-nothing":          {"thaw --all", stub{thaws: &dm.Thawed{}}},
		"thaw-locked":           {"thaw", stub{thaws: &dm.Thawed{Left: []dm.Left{{Device: "vg-home", Reason: "another dmsnap (pid 42) is using /dev/mapper/vg-home"}}}, err: underWay()}},
		"doctor":                {"doctor /home /", stub{report: sampleReport()}},
		"doctor-host":           {"doctor", stub{report: &dm.Report{Kernel: "6.1.192", Problems: []dm.Problem{{Message: "no device-mapper", Hint: "modprobe dm_mod"}}}}},
		"doctor-lesser":         {"doctor", stub{report: lesser}},
		"why":                   {"why nightly", stub{why: sampleExplanation()}},
		"graph":                 {"graph", stub{graph: sampleGraph()}},
		"graph-empty":           {"graph", stub{graph: &dm.Graph{}}},
		"usage-no-command":      {"", stub{}},
		"usage-unknown-command": {"snapshot", stub{}},
		"usage-unknown-flag":    {"list --frob", stub{}},
		"usage-bare-size":       {"create /home -s 10", stub{}},
		"usage-verbosity":       {"list -q -v", stub{}},
	}
}

func sampleEvent() dm.Event {
	used := uint64(3 << 20)
	return dm.Event{
		Time: at("2026-11-20T12:00:00Z"), Kind: dm.EventFull, Set: "nightly", Volume: "vg-home",
		UsedBytes: &used, SizeBytes: 4 << 20, Reason: "it has reached its limit", ReadBy: []string{"hourly"},
	}
}

func TestGolden(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	for name, g := range goldens() {
		t.Run(name, func(t *testing.T) {
			args := strings.Fields(g.args)
			text := do(t, &g.stub, args...)
			object := do(t, &g.stub, append(args, "--json")...)
			if text.exit != object.exit {
				t.Errorf("exit %d, with --json %d", text.exit, object.exit)
			}
			got := "$ dmsnap " + g.args + "\n" + text.String() + "$ dmsnap " + g.args + " --json\n" + object.String()
			path := filepath.Join("testdata", "golden", name+".txt")
			if update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got (go test -update writes it anew):\n%s", diff)
			}
		})
	}
}

func TestGoldenFilesAreUsed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := goldens()[strings.TrimSuffix(filepath.Base(f), ".txt")]; !ok {
			t.Errorf("%s belongs to no test", f)
		}
	}
}
