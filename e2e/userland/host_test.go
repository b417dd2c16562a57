package userland

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/pack"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// machine is one that can be started again from the same disks.
type machine struct {
	options vm.Options
	*vm.Machine
}

// install makes a machine with the packages of this tree installed, and disks of its own.
func install(t *testing.T) *machine {
	t.Helper()
	if os.Getenv("DMSNAP_MACHINES") == "" {
		t.Skip("starts a machine: run by e2e test, or with DMSNAP_MACHINES=1")
	}
	if os.Getenv("DMSNAP_FULL") == "" {
		t.Skip("full length only: e2e test --all has it")
	}
	image, err := vm.Userland(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if out, err := exec.Command("cp", "--sparse=always", image, root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := &machine{options: vm.Options{Kernel: vm.Kernels[0], Root: root, Disks: []vm.Disk{
		{Path: filepath.Join(dir, "a"), Size: 1 << 30}, {Path: filepath.Join(dir, "b"), Size: 1 << 30},
	}}}
	m.start(t)
	files, err := pack.Build(t.Context(), pack.Options{Source: "../..", Dir: t.TempDir(), Version: "1.0.0", Arches: []string{"amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_amd64.deb") {
			m.run(t, "dpkg -i /host"+f)
		}
	}
	return m
}

// start boots the machine. All its services have started well, or are named.
func (m *machine) start(t *testing.T) {
	t.Helper()
	begun := time.Now()
	started, err := vm.Start(t.Context(), m.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(started.Kill)
	m.Machine = started
	t.Logf("up in %v", time.Since(begun).Round(time.Second))
	if state, _ := m.try(t, "systemctl is-system-running --wait"); strings.TrimSpace(state) != "running" {
		t.Errorf("the system is %s%s", state, m.run(t, "systemctl --failed; journalctl -b -p warning --no-pager | tail -n 60"))
	}
}

// run runs a line of shell, which must succeed.
func (m *machine) run(t *testing.T, line string) string {
	t.Helper()
	out, code := m.try(t, line)
	if code != 0 {
		t.Fatalf("%s: exit %d\n%s", line, code, out)
	}
	return out
}

func (m *machine) try(t *testing.T, line string) (said string, code int) {
	t.Helper()
	var out bytes.Buffer
	result, err := m.Run(t.Context(), vm.Command{Path: "/bin/sh", Args: []string{"-c", line}, Dir: "/", Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out.String(), result.ExitCode
}

// down has systemd end everything, and fails the test if a unit did not end well.
func (m *machine) down(t *testing.T) {
	t.Helper()
	poweroff := vm.Command{Path: "/bin/systemctl", Args: []string{"--no-block", "poweroff"}, Dir: "/"}
	_, _ = m.Run(t.Context(), poweroff) // the agent may be gone before it can answer
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := m.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(m.Console(400)) {
		if strings.Contains(line, "/lib/modules/") {
			continue // the harness's own mount, which udevd has files of until the end
		}
		if strings.Contains(line, "FAILED") || strings.Contains(line, "Failed") || strings.Contains(line, "Timed out") {
			t.Errorf("at the shutdown: %s", line)
		}
	}
}
