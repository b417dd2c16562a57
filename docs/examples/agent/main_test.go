package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/dm/dmtest"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestMain is the agent itself when a test starts it as a program.
func TestMain(m *testing.M) {
	if os.Getenv("AGENT_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func hostOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: it says nothing about the kernel it runs on")
	}
}

func request(h *dmtest.Host) dm.CreateRequest { return h.Request(setName) }

func clean(t *testing.T, h *dmtest.Host, what string) {
	t.Helper()
	if left := h.Changes(); len(left) > 0 {
		t.Errorf("%s: left behind:\n%s", what, strings.Join(left, "\n"))
	}
}

func TestBackup(t *testing.T) {
	hostOnly(t)
	h, to := dmtest.LVM(), t.TempDir()
	past := make([]byte, dmtest.SizeBytes)
	if err := h.Read(h.Volumes[0].Device, 0, past); err != nil {
		t.Fatal(err)
	}
	if err := backup(t.Context(), h.Manager(), request(h), to); err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join(to, "vg-home.img"))
	if err != nil || !bytes.Equal(copied, past) {
		t.Errorf("the copy is not the volume: %v", err)
	}
	files, err := os.ReadDir(to)
	if err != nil || len(files) != len(h.Volumes) {
		t.Errorf("%v, %v", files, err)
	}
	clean(t, h, "a backup")
}

// TestEverythingFails fails some of the system calls in turn, and cancels at each
// of them. A removal that fails may leave the set; then the agent says so, and
// its next run takes it down.
func TestEverythingFails(t *testing.T) {
	hostOnly(t)
	for n, past := 1, false; !past; n += 57 {
		past = true
		for _, fault := range []error{unix.EIO, nil} {
			h, to := dmtest.Database(), t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			first, last := h.Calls(), ioctltest.Call{}
			h.Fail(func(c ioctltest.Call) error {
				if c.N-first != n || c.Op == "semremove" { // a semaphore that cannot be removed is lost to everybody
					return nil
				}
				past = false
				last = c
				if fault == nil {
					cancel()
				}
				return fault
			})
			err := backup(ctx, h.Manager(), request(h), to)
			cancel()
			h.Fail(nil)
			if fault != nil && err != nil && len(h.Changes()) > 0 {
				err = backup(t.Context(), h.Manager(), request(h), to) // the next run
			}
			clean(t, h, "after "+errorText(err))
			if parts, _ := filepath.Glob(to + "/*.part"); len(parts) > 0 {
				t.Errorf("after %v: %v", err, parts)
			}
			if t.Failed() {
				t.Fatalf("call %d, %s, fault %v", n, last, fault)
			}
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "success"
	}
	return err.Error()
}

// TestLostImage: a copy of an image that is lost meanwhile is no copy.
func TestLostImage(t *testing.T) {
	hostOnly(t)
	h, to, once := dmtest.LVM(), t.TempDir(), false
	h.Fail(func(c ioctltest.Call) error {
		if c.Op == "pread" && strings.HasPrefix(c.Path, "/dev/dm-") && !once {
			once = true
			h.Invalidate("dmsnap-agent-vg-home")
		}
		return nil
	})
	err := backup(t.Context(), h.Manager(), request(h), to)
	if _, lost := errors.AsType[*dm.StateError](err); !lost || !strings.Contains(err.Error(), "larger store") {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(to); len(files) > 0 {
		t.Errorf("there is %v", files)
	}
	clean(t, h, "after a lost image")
}

// TestKilled: the run after a kill -9 takes down what the first one left.
func TestKilled(t *testing.T) {
	hostOnly(t)
	h := dmtest.LVM()
	if _, err := h.Manager().Create(t.Context(), request(h)); err != nil {
		t.Fatal(err)
	}
	h.Exit()
	if err := backup(t.Context(), h.Manager(), request(h), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	clean(t, h, "the second run")
}

func TestParse(t *testing.T) {
	r, err := parse([]string{"/home=/dev/vdc", "/srv=/dev/vdd"})
	if err != nil || len(r.Origins) != 2 || r.Stores["/srv"] != "/dev/vdd" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range [][]string{nil, {"/home"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
