package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/google/go-cmp/cmp"
)

func TestCreateRequest(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		want dm.CreateRequest
	}{
		"defaults": {
			[]string{"/home"},
			dm.CreateRequest{
				Origins: []string{"/home"}, Stores: map[string]string{"": "auto"}, Labels: map[string]string{},
				FreezeTimeout: 10 * time.Second, HookTimeout: 30 * time.Second,
			},
		},
		"everything": {
			[]string{
				"-n", "nightly", "/home", "LABEL=a,b", "--store", "/home=/dev/vdc", "--store", "file:/a,b", "-s", "20%", "-c", "128K",
				"--persistent", "--writable", "--label", "job=7,8;x=y", "--label", "empty=", "--freeze-timeout", "1m", "--consistency", "crash",
				"--hooks", "hooks", "--hook-timeout", "1s",
			},
			dm.CreateRequest{
				Name: "nightly", Origins: []string{"/home", "LABEL=a,b"},
				Stores:    map[string]string{"/home": "/dev/vdc", "": "file:/a,b"},
				StoreSize: dm.Size{Percent: 20}, ChunkBytes: 128 << 10, Persistent: true, Writable: true,
				Labels:        map[string]string{"job": "7,8;x=y", "empty": ""},
				FreezeTimeout: time.Minute, Consistency: dm.Crash, HookTimeout: time.Second, HookDirs: []string{dir + "/hooks"},
			},
		},
		"relative paths, one like a flag": {
			[]string{"--store=../x=ram", "--", "../x", "-odd", "PARTLABEL=y"},
			dm.CreateRequest{
				Origins: []string{filepath.Dir(dir) + "/x", dir + "/-odd", "PARTLABEL=y"},
				Stores:  map[string]string{filepath.Dir(dir) + "/x": "ram", "": "auto"}, Labels: map[string]string{},
				FreezeTimeout: 10 * time.Second, HookTimeout: 30 * time.Second,
			},
		},
	}
	for name, tt := range tests {
		for _, dry := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				m := &stub{set: nightly(), plan: samplePlan()}
				args := append([]string{"create"}, tt.args...)
				if dry {
					args = append([]string{"create", "--dry-run"}, tt.args...)
				}
				if o := do(t, m, args...); o.exit != 0 {
					t.Fatal(o)
				}
				if diff := cmp.Diff(tt.want, m.request); diff != "" {
					t.Error(diff)
				}
				if planned := strings.HasPrefix(m.calls[0], "plan"); len(m.calls) != 1 || planned != dry {
					t.Errorf("called %q", m.calls)
				}
			})
		}
	}
}

// An empty name is what is left of an unset variable: it never means the
// working directory.
func TestEmptyPaths(t *testing.T) {
	for _, args := range [][]string{{"create", ""}, {"create", "/a", ""}, {"doctor", ""}, {"mount", "nightly", ""}} {
		m := &stub{}
		if o := do(t, m, args...); o.exit != 2 || len(m.calls) != 0 {
			t.Errorf("%q: called %q\n%s", args, m.calls, o)
		}
	}
}

func TestTwoSpellings(t *testing.T) {
	if o := do(t, &stub{}, "create", "/a", "/a/", "--store", "/a=ram", "--store", "/a/=auto"); o.exit != 2 {
		t.Error(o)
	}
}

func TestMountDir(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	m := &stub{}
	do(t, m, "mount", "nightly", "image")
	if want := "mount nightly " + dir + "/image"; len(m.calls) != 1 || m.calls[0] != want {
		t.Errorf("called %q, want %q", m.calls, want)
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, line := range []string{
		"", "/a -s 10", "/a -s 0k", "/a -s x", "/a -s 1e", "/a -c 64", "/a -c 3k", "/a -c 10%", "/a --freeze-timeout 0s", "/a --freeze-timeout -1s",
		"/a --freeze-timeout 5x", "/a --consistency none", "/a --label x", "/a --label =x", "/a --label a=1 --label a=2",
		"/a --store disk", "/a --store ram --store ram", "/a --store /b=ram", "/a -n",
	} {
		m := &stub{}
		o := do(t, m, append([]string{"create"}, strings.Fields(line)...)...)
		if o.exit != 2 || o.stdout != "" || len(m.calls) != 0 {
			t.Errorf("create %s: called %q\n%s", line, m.calls, o)
		}
	}
}

// A set with an error beside it exists: it is printed, and the exit status does
// not say that nothing was changed.
func TestCreateSetWithError(t *testing.T) {
	for code, exit := range map[dm.Code]int{dm.CodeDegraded: 9, dm.CodePartial: 10, dm.CodeFailed: 10, dm.CodeUnrecovered: 11} {
		err := &dm.Error{Op: "close", Code: code, Err: errors.New("lock is gone")}
		o := do(t, &stub{set: nightly(), err: err}, "create", "/home", "--json")
		if o.exit != exit || !strings.HasPrefix(o.stdout, `{"schema_version":1,"sets":[{`) || !strings.HasSuffix(o.stderr, "lock is gone\n") {
			t.Errorf("%s: %s", code, o)
		}
	}
}

func TestDegraded(t *testing.T) {
	tests := []struct {
		got, asked dm.Consistency
		lower      bool
	}{
		{dm.Filesystem, dm.Filesystem, false},
		{dm.Unmounted, dm.Filesystem, false},
		{dm.Crash, dm.Filesystem, true},
		{dm.Crash, dm.Crash, false},
		{dm.Unmounted, dm.Crash, false},
	}
	for _, tt := range tests {
		s := &dm.Set{Receipt: &dm.Receipt{Consistency: tt.got, Asked: tt.asked}}
		if err := degraded(s); (err != nil) != tt.lower {
			t.Errorf("%s, asked for %s: %v", tt.got, tt.asked, err)
		}
	}
	if err := degraded(&dm.Set{}); err != nil {
		t.Errorf("no receipt: %v", err)
	}
	failed := &dm.Set{Receipt: &dm.Receipt{Consistency: dm.Filesystem, Asked: dm.Filesystem, Hooks: []dm.HookReceipt{{Error: "no server"}}}}
	if err := degraded(failed); dm.CodeOf(err) != dm.CodeDegraded {
		t.Errorf("a hook failed: %v", err)
	}
}
