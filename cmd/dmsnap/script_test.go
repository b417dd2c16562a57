package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // what people see is in their zone
	flag.Bool("update", false, "write golden files and script expectations anew")
	// A guard is this program under a name of its own.
	testscript.Main(m, map[string]func(){"dmsnap": main, "window-guard": main})
}

// TestScript runs the command as users call it, on any host and as any user.
func TestScript(t *testing.T) {
	testscript.Run(t, params("testdata/script"))
}

// TestNoDeviceMapper runs it on a host that has no device-mapper, not even a
// module that could be loaded.
func TestNoDeviceMapper(t *testing.T) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	switch {
	case err != nil:
		t.Fatal(err)
	case exists("/sys/module/dm_mod"), exists("/lib/modules/" + strings.TrimSpace(string(release))):
		t.Skip("host only: there is device-mapper")
	case os.Geteuid() != 0:
		t.Skip("host only: says first that root is needed")
	}
	testscript.Run(t, params("testdata/nodm"))
}

// TestNoRoot runs it as somebody else.
func TestNoRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("host only: runs as root")
	}
	testscript.Run(t, params("testdata/noroot"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestGuest runs it against real devices.
func TestGuest(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	testscript.RunT(serial{t}, params("testdata/guest"))
}

// TestGuestWide runs what kernels hardly differ in.
func TestGuestWide(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	lab.Wide(t)
	testscript.RunT(serial{t}, params("testdata/wide"))
}

// serial runs scripts one after the other: they share the guest's disks.
type serial struct{ *testing.T }

func (serial) Parallel() {}

func (serial) Verbose() bool { return testing.Verbose() }

func (s serial) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(serial{t}) })
}

func params(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	}
}

// exits STATUS PROGRAM [ARG...] runs a program that must end with the status.
// Its output is there for stdout, stderr and cmp.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
