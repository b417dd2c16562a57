package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

const sampleProfile = `# every night
origin = /home
origin = LABEL=data
command = restic backup --tag 'two words' "" /home
store = /home=/dev/vdc
rw = /srv/repo
only = yes
size = 20%
lock = restic
lock-wait = 2h
retries = 2
retry-after = 5m
notify = logger -t dmsnap
`

func TestParseProfile(t *testing.T) {
	p, err := parseProfile("home", sampleProfile)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"restic", "backup", "--tag", "two words", "", "/home"}; !slices.Equal(p.request.Command, want) {
		t.Errorf("command %q, want %q", p.request.Command, want)
	}
	r := p.request
	if !slices.Equal(r.Create.Origins, []string{"/home", "LABEL=data"}) || r.Create.Stores["/home"] != "/dev/vdc" || r.Create.StoreSize.Percent != 20 {
		t.Errorf("%+v", r.Create)
	}
	if !r.Only || !slices.Equal(r.Writable, []string{"/srv/repo"}) || r.KillAfter != 30*time.Second {
		t.Errorf("%+v", r)
	}
	if p.Lock != "restic" || p.LockWait != 2*time.Hour || p.Retries != 2 || p.RetryAfter != 5*time.Minute || !slices.Equal(p.Notify, []string{"logger", "-t", "dmsnap"}) {
		t.Errorf("%+v", p)
	}
	if r.Create.Labels[profileLabel] != "home" {
		t.Errorf("labels %v", r.Create.Labels)
	}
}

// TestProfileErrors name the line where one line is wrong.
func TestProfileErrors(t *testing.T) {
	for text, says := range map[string]string{
		"":                          " it names no origin",
		"origin":                    "1: \"origin\" is not KEY = VALUE",
		"origin = home":             "1: origin: \"home\" is not an origin",
		"[/home]":                   "1: a profile has no sections",
		"origin = /\ncomand = true": "2: unknown key \"comand\"",
		"origin = /\nonly = yes":    "2: unknown key \"only\": it is neither a key of profiles nor an option of dmsnap create",
		"origin = /\nname = x":      "2: unknown key \"name\"",
		"origin = /\ndry-run = yes": "2: unknown key \"dry-run\"",
		"origin = /\nonly = maybe\ncommand = true": "2: only: write yes or no",
		"origin = /\ncommand = true 'a":            "2: command: a quote is not closed",
		"origin = /\ncommand = ''":                 "2: command: no command is named",
		"origin = /\nretries = -1":                 "2: retries: \"-1\" is not a number",
		"origin = /\nretry-after = 0s":             "2: retry-after: \"0s\" is not a duration",
		"origin = /\nlock = a/b":                   "2: lock: use up to 40 letters",
		"origin = /\nlock = a\nlock = b":           "3: lock is given twice",
		"origin = /\ntextfile = /x":                "2: textfile: write an absolute path that ends in .prom",
		"origin = /\nlease = 2h\ncommand = true":   " lease is for sets that stay",
		"origin = /\nkeep = daily":                 "2: keep: keep rule \"daily\" is not PERIOD:NUMBER",
		"origin = /\nkeep = last:1\nlease = 2h":    " lease and keep exclude each other",
		"origin = /\nsize = 10":                    " --size: size \"10\" has no unit",
		"origin = /\nlabel = profile=x":            " the label profile is the profile's own",
		"origin = /\nconsistency = good":           " --consistency",
	} {
		_, err := parseProfile("home", text)
		if err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%q: %v, want %s", text, err, says)
		}
	}
}

func TestProfileNames(t *testing.T) {
	env := &Env{Config: profileHost(t, "home", "origin = /home\n").config}
	if p, err := readProfile(env, "home"); err != nil || p.Name != "home" {
		t.Errorf("%+v, %v", p, err)
	}
	for name, code := range map[string]dm.Code{"other": dm.CodeNotFound, "../home": dm.CodeUsage, "": dm.CodeUsage, ".home": dm.CodeUsage, strings.Repeat("a", 41): dm.CodeUsage} {
		if _, err := readProfile(env, name); dm.CodeOf(err) != code {
			t.Errorf("%q: %v, want %s", name, err, code)
		}
	}
	for _, text := range []string{"origin = all", "all = yes", "recursive = /srv\nexcept = /srv/tmp", "vg = vg0\ncommand = true"} {
		p, err := parseProfile("home", text)
		if err != nil || len(p.Origins) > 0 {
			t.Errorf("%s: %v", text, err)
		} else if s := p.request.Create.Select; !s.All && s.Below == nil && s.Groups == nil {
			t.Errorf("%s: %+v", text, s)
		}
	}
	broken := &Env{Config: profileHost(t, "home", "\nx\n").config}
	if _, err := readProfile(broken, "home"); dm.CodeOf(err) != dm.CodeUsage || !strings.Contains(err.Error(), "home.conf:2: ") {
		t.Errorf("%v does not name file and line", err)
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                       nil,
		"  a\tb  ":               {"a", "b"},
		`sh -c 'a "b" c' "d 'e"`: {"sh", "-c", `a "b" c`, "d 'e"},
		`a'b c'd ""`:             {"ab cd", ""},
		`a\ b`:                   {`a\`, "b"},
	} {
		if got, err := splitWords(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
	if _, err := splitWords(`a "b'`); err == nil {
		t.Error("a quote stays open")
	}
}

// profileFiles are a configuration with one profile, and a state directory.
type profileFiles struct{ config, state string }

func profileHost(t *testing.T, name, text string) profileFiles {
	t.Helper()
	dir := t.TempDir()
	f := profileFiles{filepath.Join(dir, "dmsnap.conf"), filepath.Join(dir, "state")}
	for path, text := range map[string]string{f.config: "", filepath.Join(dir, profileSubdir, name+".conf"): text} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f profileFiles) do(t *testing.T, m manager, args ...string) outcome {
	t.Helper()
	return do(t, m, append([]string{"--config", f.config, "--state-dir", f.state}, args...)...)
}
