package dm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// hookDir is a directory of hooks that note their calls. The same paths exist in
// the fake kernel, which is asked who owns them.
type hookDir struct{ path, log string }

func newHookDir(t *testing.T, bodies map[string]string) hookDir {
	t.Helper()
	d := hookDir{path: t.TempDir()}
	d.log = filepath.Join(t.TempDir(), "log")
	for name, body := range bodies {
		text := "#!/bin/sh\nread -r line\necho \"" + name + " $1\" >> " + d.log + "\n" + body
		check(t, os.WriteFile(filepath.Join(d.path, name), []byte(text), 0o755))
	}
	return d
}

// on makes the directory known to a host, and asks for it.
func (d hookDir) on(t *testing.T, h *host) CreateRequest {
	t.Helper()
	names, err := os.ReadDir(d.path)
	check(t, err)
	for _, n := range names {
		file := filepath.Join(d.path, n.Name())
		h.WriteFile(file, "")
		check(t, h.Border().Chmod(file, 0o755))
	}
	r := both()
	r.HookDirs = []string{d.path}
	return r
}

// calls returns what was noted, and forgets it.
func (d hookDir) calls(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(d.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	check(t, os.RemoveAll(d.log))
	return slices.DeleteFunc(strings.Split(string(b), "\n"), func(l string) bool { return l == "" })
}

func TestHooksAroundACut(t *testing.T) {
	d := newHookDir(t, map[string]string{"10a": "", "20b": "[ $1 = pre-freeze ] || exit 0\necho ready\ncat > /dev/null\n"})
	h := newHost(t, ioctltest.Options{})
	set := h.create(t, d.on(t, h))
	if got, want := d.calls(t), []string{"10a pre-freeze", "20b pre-freeze", "20b post-thaw", "10a post-thaw"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if set.Receipt.Consistency != Application || set.Receipt.Asked != Application || len(set.Receipt.Hooks) != 4 {
		t.Errorf("receipt %+v", set.Receipt)
	}
}

// TestHookThatFails ends the create, or is told of, as asked for. All that were
// called are called again.
func TestHookThatFails(t *testing.T) {
	d := newHookDir(t, map[string]string{"10a": "", "20b": "[ $1 != pre-freeze ] || { echo no server; exit 1; }\n", "30c": ""})
	h := newHost(t, ioctltest.Options{})
	r := d.on(t, h)
	before := withoutLocks(h.Snapshot())
	_, err := h.m.Create(context.Background(), r)
	if !errors.Is(err, ErrFreeze) || !strings.Contains(err.Error(), "no server") {
		t.Errorf("got %v", err)
	}
	same(t, "after a hook failed", before, withoutLocks(h.Snapshot()))
	if got, want := d.calls(t), []string{"10a pre-freeze", "20b pre-freeze", "20b abort", "10a abort"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	r.Consistency = Filesystem
	set := h.create(t, r)
	if set.Receipt.Consistency != Filesystem || set.Receipt.Hooks[1].Error == "" {
		t.Errorf("receipt %+v", set.Receipt)
	}
	want := []string{"10a pre-freeze", "20b pre-freeze", "20b abort", "30c pre-freeze", "30c post-thaw", "10a post-thaw"}
	if got := d.calls(t); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestHooksRefused(t *testing.T) {
	d := newHookDir(t, map[string]string{"10a": ""})
	h := newHost(t, ioctltest.Options{})
	r := d.on(t, h)
	check(t, h.Border().Chmod(d.path, 0o777))
	if _, err := h.m.Create(context.Background(), r); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), d.path) {
		t.Errorf("writable by others: %v", err)
	}
	r = both()
	r.Consistency = Application
	if _, err := h.m.Create(context.Background(), r); !errors.Is(err, ErrUsage) {
		t.Errorf("no hook at all: %v", err)
	}
	if got := d.calls(t); len(got) > 0 {
		t.Errorf("called: %v", got)
	}
}

// TestHooksAfterAKill: whoever was called with pre-freeze is called again, by
// recover if not before.
func TestHooksAfterAKill(t *testing.T) {
	hostOnly(t)
	d := newHookDir(t, map[string]string{"10a": "", "20b": ""})
	for n := 1; ; n += sparse() {
		h := newHost(t, ioctltest.Options{})
		r := d.on(t, h)
		at, err := h.die(n, func(h *host) error { _, err := h.m.Create(context.Background(), r); return err })
		if at == nil {
			check(t, err)
			return
		}
		h.Exit()
		recovered(t, h)
		open := map[string]bool{}
		for _, call := range d.calls(t) {
			hook, event, _ := strings.Cut(call, " ")
			open[hook] = event == "pre-freeze"
		}
		for hook, waits := range open {
			if waits {
				t.Errorf("killed before %s: %s was never told to go on", at, hook)
			}
		}
		_, err = h.m.Show(context.Background(), "nightly")
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}
