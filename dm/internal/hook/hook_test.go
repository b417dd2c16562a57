package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// script makes a hook that notes its calls in a file beside it.
func script(t *testing.T, body string) (h *Hook, calls func() string) {
	t.Helper()
	dir := t.TempDir()
	hook, log := filepath.Join(dir, "10hook"), filepath.Join(dir, "calls")
	text := "#!/bin/sh\nread -r line\necho \"$1 $line\" >> " + log + "\n" + body
	if err := os.WriteFile(hook, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Hook{Path: hook, Limit: time.Minute}, func() string {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestHookIsCalled(t *testing.T) {
	h, calls := script(t, "exit 0\n")
	for _, err := range []error{h.PreFreeze(context.Background(), []byte(`{"a":1}`)), h.End(PostThaw, []byte(`{"a":2}`))} {
		if err != nil {
			t.Error(err)
		}
	}
	if got := calls(); got != "pre-freeze {\"a\":1}\npost-thaw {\"a\":2}\n" {
		t.Error(got)
	}
}

// TestHookHolds until its input is closed, and is called again then.
func TestHookHolds(t *testing.T) {
	h, calls := script(t, "[ $1 = pre-freeze ] || exit 0\necho ready\ncat >/dev/null\necho released >> $(dirname $0)/calls\n")
	if err := h.PreFreeze(context.Background(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if got := calls(); got != "pre-freeze {}\n" {
		t.Error("before the release:", got)
	}
	if err := h.End(Abort, []byte("{}")); err != nil {
		t.Error(err)
	}
	if got := calls(); got != "pre-freeze {}\nreleased\nabort {}\n" {
		t.Error(got)
	}
}

func TestHookFails(t *testing.T) {
	for name, row := range map[string]struct{ body, want string }{
		"status":    {"echo first; echo no such database >&2; exit 3\n", "exit status 3: no such database"},
		"limit":     {"sleep 1000\n", "neither exited nor printed ready"},
		"let go":    {"[ $1 = pre-freeze ] || exit 0\necho ready\n", "exited before its input was closed"},
		"will stay": {"[ $1 = pre-freeze ] || exit 0\necho ready\nsleep 1000\n", "did not end within"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := script(t, row.body)
			h.Limit = 500 * time.Millisecond
			err := h.PreFreeze(context.Background(), []byte("{}"))
			if err == nil {
				if name == "let go" {
					<-h.staying.ended // on its own account
				}
				err = h.End(PostThaw, []byte("{}"))
			}
			if !errors.Is(err, ErrHook) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestHooksAreRoots(t *testing.T) {
	k := ioctltest.New(ioctltest.Options{})
	hook := func(name string) { k.WriteFile("/etc/dmsnap/hooks.d/"+name, "#!/bin/sh\n") }
	hook("20b")
	hook("README")
	hook("10a~")
	b := k.Border()
	find := func() ([]string, error) { return Find(b, "/etc/dmsnap/hooks.d") }
	if _, err := find(); !errors.Is(err, ErrHook) || !strings.Contains(err.Error(), "not an executable file") {
		t.Errorf("not executable: %v", err)
	}
	chmod := func(path string, mode uint32) {
		if err := b.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod("/etc/dmsnap/hooks.d/20b", 0o755)
	hook("10a")
	chmod("/etc/dmsnap/hooks.d/10a", 0o700)
	got, err := find()
	if want := []string{"/etc/dmsnap/hooks.d/10a", "/etc/dmsnap/hooks.d/20b"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	chmod("/etc/dmsnap", 0o775)
	if _, err := find(); !errors.Is(err, ErrHook) || !strings.Contains(err.Error(), "/etc/dmsnap is writable by others") {
		t.Errorf("directory of a group: %v", err)
	}
	chmod("/etc/dmsnap", 0o755)
	k.Symlink("/etc/dmsnap/hooks.d/10a", "/etc/dmsnap/hooks.d/30c")
	if _, err := find(); !errors.Is(err, ErrHook) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("link: %v", err)
	}
}
