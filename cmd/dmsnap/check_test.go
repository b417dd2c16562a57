package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/docs/schema"
)

// TestCheck: it says what is in the way, ends with the status of that, and makes nothing.
func TestCheck(t *testing.T) {
	refused := &dm.Error{Op: "create", Code: dm.CodeUnsupported, Err: errors.New("no device-mapper"), Hint: "modprobe dm_mod"}
	for name, c := range map[string]struct {
		profile string
		err     error
		want    int
		says    string
	}{
		"good":            {"origin = /home\ncommand = true\n", nil, 0, "can be taken, in "},
		"no command":      {"origin = /home\ncommand = no-such-program\n", nil, 4, "no-such-program"},
		"no notification": {"origin = /home\non-failure = no-such-program\n", nil, 4, "no-such-program"},
		"no directory":    {"origin = /home\ntextfile = /no/such/x.prom\n", nil, 4, "/no/such"},
		"no snapshot":     {"origin = /home\n", refused, 7, "hint: modprobe dm_mod"},
		"live instead":    {"origin = /home\ncommand = true\nif-unsupported = live\n", refused, 0, "live system"},
		"no profile":      {"origin = home\n", nil, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := profileHost(t, "home", c.profile)
			m := &stub{plan: samplePlan(), err: c.err}
			o := files.do(t, m, "check", "home")
			if o.exit != c.want || !strings.Contains(o.stdout, c.says) || (o.exit == 0) != (o.stderr == "") {
				t.Errorf("want %d and %q\n%s", c.want, c.says, o)
			}
			if c.want != 2 && (len(m.calls) != 1 || !strings.Contains(o.stdout, "not known yet")) {
				t.Errorf("%q\n%s", m.calls, o)
			}
			if o := files.do(t, m, "check", "home", "--json"); schema.Check([]byte(o.stdout)) != nil {
				t.Errorf("%v\n%s", schema.Check([]byte(o.stdout)), o)
			}
		})
	}
}

// TestGuessStores: means are over time, old runs and other origins do not count.
func TestGuessStores(t *testing.T) {
	now := at("2026-11-22T03:00:00Z")
	run := func(ago time.Duration, fills ...fill) pastRun { return pastRun{Ended: now.Add(-ago), Fills: fills} }
	h := history{Runs: []pastRun{
		run(8*24*time.Hour, fill{"/a", 1, 1 << 30, 1 << 30}),
		run(48*time.Hour, fill{"/a", 100, 1000, 5000}, fill{"/b", 10, 0, 5000}),
		run(24*time.Hour, fill{"/a", 300, 9000, 6000}),
		run(time.Hour),
	}}
	got := guessStores(h, now)
	if len(got) != 2 || got[0].Origin != "/a" || math.Abs(got[0].Rate-25) > 1e-9 || got[0].Fastest != 30 || got[0].SizeBytes != 6000 || got[0].Runs != 2 || *got[0].Seconds != 200 {
		t.Errorf("%+v", got)
	}
	if got[1].Seconds != nil {
		t.Errorf("a store into which nothing is copied lasts %d s", *got[1].Seconds)
	}
}
