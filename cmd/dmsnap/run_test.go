package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/docs/schema"
)

// TestRunStatus: with a command the status is that of exec, without one that of create.
func TestRunStatus(t *testing.T) {
	ours := &dm.Error{Op: "exec", Code: dm.CodeNoSpace, Err: errors.New("an image was lost")}
	crash := nightly()
	crash.Receipt.Consistency, crash.Receipt.Unproven = dm.Crash, []string{"/boot/efi"}
	const command = "origin = /home\ncommand = true\n"
	for name, c := range map[string]struct {
		profile string
		stub    stub
		want    int
	}{
		"good command":  {command, stub{execution: &dm.Execution{Ran: true, Good: true, Set: nightly()}}, 0},
		"its own":       {command, stub{execution: &dm.Execution{Ran: true, Status: 3}}, 3},
		"lost":          {command, stub{execution: &dm.Execution{Ran: true, Lost: "full"}, err: ours}, 124},
		"not made":      {command, stub{execution: &dm.Execution{Status: 125}, err: ours}, 125},
		"set":           {"origin = /home\n", stub{set: nightly()}, 0},
		"degraded set":  {"origin = /home\n", stub{set: crash}, 9},
		"no set":        {"origin = /home\n", stub{err: ours}, 6},
		"not a profile": {"origin = home\n", stub{}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			files := profileHost(t, "home", c.profile)
			result := filepath.Join(t.TempDir(), "result")
			o := files.do(t, &c.stub, "run", "home", "--json-file", result)
			if o.exit != c.want || (o.stderr != "") != (c.want != 0 && c.want != 3) {
				t.Errorf("want %d\n%s", c.want, o)
			}
			if c.want == 2 {
				return
			}
			got := readRun(t, result)
			if got.Exit != c.want || got.Tries != 1 || (got.Error == nil) != (o.stderr == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func readRun(t *testing.T, path string) runResult {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Check(text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	var doc struct{ Runs []runResult }
	if err := json.Unmarshal(text, &doc); err != nil || len(doc.Runs) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	return doc.Runs[0]
}

// flaky fails so many times.
type flaky struct {
	stub
	failures int
	err      error
}

func (f *flaky) Exec(ctx context.Context, r dm.ExecRequest) (*dm.Execution, error) {
	x, _ := f.stub.Exec(ctx, r)
	if f.failures--; f.failures >= 0 {
		return &dm.Execution{Status: statusFailed}, f.err
	}
	return x, nil
}

func TestRunRetries(t *testing.T) {
	busy := &dm.Error{Op: "exec", Code: dm.CodeBusy, Err: errors.New("busy")}
	for name, c := range map[string]struct {
		failures int
		err      error
		tries    int
		want     int
	}{
		"once":        {1, busy, 2, 0},
		"too often":   {3, busy, 3, 125},
		"never works": {1, &dm.Error{Op: "exec", Code: dm.CodeUnsupported, Err: errors.New("no")}, 1, 125},
	} {
		m := &flaky{failures: c.failures, err: c.err}
		o := profileHost(t, "home", "origin = /home\ncommand = true\nretries = 2\nretry-after = 1ns\n").do(t, m, "run", "home")
		if o.exit != c.want || len(m.calls) != c.tries {
			t.Errorf("%s: %d tries, want %d\n%s", name, len(m.calls), c.tries, o)
		}
	}
}

// TestRunNotifies: notify after each run, on-failure after those that were not good.
func TestRunNotifies(t *testing.T) {
	for status, want := range map[int]string{0: "notify home 0\n", 3: "notify home 3\nfailure home 3\n"} {
		dir := t.TempDir()
		tell := func(word string) string {
			return `sh -c 'cat > ` + dir + `/` + word + `; echo ` + word + ` $DMSNAP_PROFILE $DMSNAP_EXIT >> ` + dir + `/log'`
		}
		files := profileHost(t, "home", "origin = /home\ncommand = true\nnotify = "+tell("notify")+"\non-failure = "+tell("failure")+"\n")
		if o := files.do(t, &stub{execution: &dm.Execution{Ran: true, Status: status}}, "run", "home"); o.exit != status {
			t.Errorf("%s", o)
		}
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || string(log) != want {
			t.Errorf("%q, %v, want %q", log, err, want)
		}
		if got := readRun(t, filepath.Join(dir, "notify")); got.Exit != status {
			t.Errorf("%+v", got)
		}
	}
	// What cannot be told is not kept quiet.
	if o := profileHost(t, "home", "origin = /home\ncommand = true\n").do(t, &stub{}, "run", "home", "--notify", "false"); o.exit != 125 || !strings.Contains(o.stderr, "could not be reported") {
		t.Errorf("%s", o)
	}
}

// TestRunLock: two runs of one profile do not overlap.
func TestRunLock(t *testing.T) {
	files := profileHost(t, "home", "origin = /home\n")
	env := &Env{Config: files.config, StateDir: files.state}
	p, err := readProfile(env, "home")
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lockRun(t.Context(), env, p)
	if err != nil {
		t.Fatal(err)
	}
	m := &stub{set: nightly()}
	if o := files.do(t, m, "run", "home"); o.exit != 3 || len(m.calls) > 0 {
		t.Errorf("%s", o)
	}
	p.LockWait = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockRun(ctx, env, p); dm.CodeOf(err) != dm.CodeLocked {
		t.Errorf("%v", err)
	}
	unlock()
	if o := files.do(t, m, "run", "home"); o.exit != 0 || !slices.Equal(m.calls, []string{"list", "create " + m.request.Name}) || !strings.HasPrefix(m.request.Name, "home-") {
		t.Errorf("%v\n%s", m.calls, o)
	}
}

// TestRunHistory: runs are remembered, and the metrics say when the last good one was.
func TestRunHistory(t *testing.T) {
	prom := filepath.Join(t.TempDir(), "home.prom")
	files := profileHost(t, "home", "origin = /home\ncommand = true\ntextfile = "+prom+"\n")
	env := &Env{StateDir: files.state}
	for range maxRuns {
		files.do(t, &stub{execution: &dm.Execution{Ran: true, Good: true, Set: nightly()}}, "run", "home")
	}
	files.do(t, &stub{execution: &dm.Execution{Ran: true, Status: 3}}, "run", "home")
	h, err := readHistory(env, "home")
	if err != nil || len(h.Runs) != maxRuns || h.Runs[maxRuns-1].Exit != 3 || h.Runs[0].Fills[0].UsedBytes != 13<<20 {
		t.Fatalf("%d runs, %v", len(h.Runs), err)
	}
	text, err := os.ReadFile(prom)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"dmsnap_run_exit_status{profile=\"home\"} 3\n", "dmsnap_run_success_timestamp_seconds{profile=\"home\"} "} {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	// What was torn is begun anew; what a newer version wrote is left alone.
	for content, want := range map[string]int{"{": 0, `{"schema_version":9}`: 125} {
		if err := os.WriteFile(historyPath(env, "home"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := files.do(t, &stub{}, "run", "home"); o.exit != want {
			t.Errorf("%s\n%s", content, o)
		}
	}
}

// TestRunKeeps: a set of a profile with keep rules is persistent and stays, its command sees
// it, and the rules are applied once all was good.
func TestRunKeeps(t *testing.T) {
	files := profileHost(t, "home", "origin = /home\nkeep = daily:7\ncommand = true\nretries = 1\nretry-after = 1ns\n")
	m := &stub{set: nightly(), pruned: samplePruned()}
	result := filepath.Join(t.TempDir(), "result")
	o := files.do(t, m, "run", "home", "--json-file", result)
	if want := []string{"list", "create " + m.request.Name, "exec nightly", "prune daily:7"}; o.exit != 0 || !slices.Equal(m.calls, want) {
		t.Errorf("%q, want %q\n%s", m.calls, want, o)
	}
	if !m.request.Persistent || m.request.Lease != (dm.Lease{}) || m.prune.Labels[profileLabel] != "home" || len(readRun(t, result).Pruned) != 3 {
		t.Errorf("%+v\n%+v", m.request, m.prune)
	}
	m = &stub{set: nightly(), execution: &dm.Execution{Ran: true, Status: 3}}
	o = files.do(t, m, "run", "home")
	if want := []string{"list", "create " + m.request.Name, "exec nightly", "exec nightly"}; o.exit != 3 || !slices.Equal(m.calls, want) {
		t.Errorf("%q, want %q\n%s", m.calls, want, o)
	}
	m = &stub{set: nightly(), fail: map[string]error{"prune daily:7": busy()}}
	if o = files.do(t, m, "run", "home"); o.exit != 125 {
		t.Errorf("%s", o)
	}
}

func TestPruneArguments(t *testing.T) {
	files := profileHost(t, "home", "origin = /home\nkeep = daily:7\n")
	m := &stub{pruned: samplePruned()}
	if o := files.do(t, m, "prune", "home", "--dry-run"); o.exit != 0 || !m.prune.DryRun || m.prune.Labels[profileLabel] != "home" || m.prune.Keep.String() != "daily:7" {
		t.Errorf("%+v\n%s", m.prune, o)
	}
	for _, line := range []string{"prune", "prune home --label a=b", "prune home --keep daily:1", "prune --keep daily:1", "prune --keep daily --label a=b", "prune --keep daily:1 --label a"} {
		m := &stub{}
		if o := files.do(t, m, strings.Fields(line)...); o.exit != 2 || len(m.calls) > 0 {
			t.Errorf("%s: %s", line, o)
		}
	}
	without := profileHost(t, "home", "origin = /home\n")
	if o := without.do(t, &stub{}, "prune", "home"); o.exit != 2 {
		t.Errorf("%s", o)
	}
}
