package powercut

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// TestMachineTorturePower cuts the power at random moments of create, extend and remove, and every other time while images
// are chained and flattened, with a writer at work and the state directory on a disk. After the next boot recover ends what was
// begun and tells what persistent stores hold, the sets' records can be removed, the filesystem is whole, and no
// acknowledged write is missing.
func TestMachineTorturePower(t *testing.T) {
	if os.Getenv("DMSNAP_MACHINES") == "" {
		t.Skip("starts a machine: run by e2e test, or with DMSNAP_MACHINES=1")
	}
	if !lab.Full() {
		t.Skip("full length only: e2e test --all and e2e torture have it")
	}
	h := newHost(t)
	h.start(t, vm.Kernels[0])
	h.inGuest(t, "TestGuestFormat", nil)
	cuts := 50
	if n, err := strconv.Atoi(os.Getenv("DMSNAP_CUTS")); err == nil {
		cuts = n
	}
	seen := map[string]int{}
	for i := range cuts {
		var b follower
		within, env := 4*time.Second, []string(nil)
		if i%2 == 1 {
			within, env = 15*time.Second, []string{"DMSNAP_CHAINS=1"}
		}
		h.cut(t, &b, time.Duration(rand.Int64N(int64(within))), env...)
		seen[b.doing]++
		t.Logf("cut %d in %s, %d writes acknowledged", i+1, b.doing, b.acked)
		h.start(t, vm.Kernels[(i+1)%2])
		h.inGuest(t, "TestGuestCheck", nil, fmt.Sprint("DMSNAP_ACKED=", b.acked))
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d cuts: %v", cuts, seen)
}

// host has a machine, and what stays when it is gone.
type host struct {
	machine *vm.Machine
	tool    string
	disks   []vm.Disk
}

func newHost(t *testing.T) *host {
	t.Helper()
	cache, err := vm.CacheDir() // the guest sees it
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "powercut-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{tool: filepath.Join(dir, "dmsnap")}
	build := exec.Command("go", "build", "-o", h.tool, "github.com/dmsnap/dmsnap/cmd/dmsnap")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, name := range []string{"origin", "store", "state"} {
		h.disks = append(h.disks, vm.Disk{Path: filepath.Join(dir, name), Size: 256 << 20})
	}
	return h
}

// start boots. In one of a few hundred boots an emulated kernel stumbles over its own code being patched, long before it
// has looked at a disk: that one is repeated.
func (h *host) start(t *testing.T, kernel vm.Kernel) {
	t.Helper()
	options := vm.Options{Kernel: kernel, Disks: h.disks, Udev: true}
	machine, err := vm.Start(t.Context(), options)
	if err != nil {
		t.Logf("booted once more: %v", err)
		machine, err = vm.Start(t.Context(), options)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(machine.Kill)
	h.machine = machine
}

// inGuest runs one of the tests for guests.
func (h *host) inGuest(t *testing.T, test string, follow *follower, env ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	command := vm.Command{
		Path: self, Args: []string{"-test.run=^" + test + "$", "-test.v"}, Env: append(env, "DMSNAP_POWER=guest", "DMSNAP_BIN="+h.tool),
		Stdout: &text, Stderr: &text,
	}
	if follow != nil {
		command.Stdout = io.MultiWriter(&text, follow)
	}
	result, err := h.machine.Run(t.Context(), command)
	if follow != nil && err != nil {
		return // that was the cut
	}
	if err != nil || result.ExitCode != 0 || len(result.Troubles) > 0 || !strings.Contains(text.String(), "--- PASS: "+test) {
		t.Fatalf("%s: %v, %+v\n%s", test, err, result, text.String())
	}
}

// cut starts the work and ends the machine some time after that.
func (h *host) cut(t *testing.T, f *follower, after time.Duration, env ...string) {
	t.Helper()
	f.started = make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-f.started:
		case <-t.Context().Done():
		}
		time.Sleep(after)
		h.machine.Kill()
	}()
	h.inGuest(t, "TestGuestWork", f, env...)
	f.once.Do(func() { close(f.started) }) // should it have ended before
	<-done
}

// follower reads what the guest says: "acked N" and "doing OPERATION" in lines.
type follower struct {
	started chan struct{}
	once    sync.Once
	rest    []byte
	acked   uint64
	doing   string
}

func (f *follower) Write(b []byte) (int, error) {
	f.rest = append(f.rest, b...)
	for {
		line, rest, whole := bytes.Cut(f.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		f.rest = rest
		if text, ok := strings.CutPrefix(string(line), "doing "); ok {
			f.doing = text
			f.once.Do(func() { close(f.started) })
		}
		if text, ok := strings.CutPrefix(string(line), "acked "); ok {
			f.acked, _ = strconv.ParseUint(text, 10, 64)
		}
	}
}
