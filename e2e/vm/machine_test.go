package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// startMachine boots a guest, from the host only, and only where the whole harness runs.
func startMachine(t *testing.T, options Options) *Machine {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: starts a machine of its own")
	}
	if os.Getenv("DMSNAP_MACHINES") == "" {
		t.Skip("starts a machine: run by e2e test, or with DMSNAP_MACHINES=1")
	}
	machine, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(machine.Kill)
	return machine
}

// signalWriter tells the first write.
type signalWriter struct{ first func() }

func (w signalWriter) Write(p []byte) (int, error) {
	w.first()
	return len(p), nil
}

func sh(line string) Command { return Command{Path: "/bin/sh", Args: []string{"-c", line}} }

func TestMachineRunsCommands(t *testing.T) {
	machine := startMachine(t, Options{})
	var stdout, stderr bytes.Buffer
	command := sh("pwd; echo $COLOUR >&2; exit 7")
	command.Env, command.Stdout, command.Stderr = []string{"COLOUR=green"}, &stdout, &stderr
	result, err := machine.Run(t.Context(), command)
	if err != nil || result.ExitCode != 7 {
		t.Errorf("got %+v, %v", result, err)
	}
	if dir, _ := os.Getwd(); stdout.String() != dir+"\n" || stderr.String() != "green\n" {
		t.Errorf("printed %q and %q", &stdout, &stderr)
	}
	if result, err := machine.Run(t.Context(), sh("kill -9 $$")); err != nil || result.ExitCode != 137 {
		t.Errorf("killed by a signal: %+v, %v", result, err)
	}
	if _, err := machine.Run(t.Context(), Command{Path: "/no/such/program"}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no program: %v", err)
	}
	leaky := sh("mount -t tmpfs left /mnt")
	leaky.Leaks = true
	if result, err := machine.Run(t.Context(), leaky); err != nil || len(result.Leaks) != 1 || !strings.Contains(result.Leaks[0], "/mnt") {
		t.Errorf("leak: %+v, %v", result, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	endless := sh("echo started; sleep 1000")
	endless.Stdout = signalWriter{cancel}
	if _, err := machine.Run(ctx, endless); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if result, err := machine.Run(t.Context(), sh("echo '<3>BUG: not really' >/dev/kmsg")); err != nil || len(result.Troubles) != 1 {
		t.Errorf("kernel message: %+v, %v", result, err)
	}
	if err := machine.Close(); err != nil {
		t.Error(err)
	}
}

// TestMachinePowerCut writes, flushes, cuts the power in mid-write, and finds on the host what was flushed.
func TestMachinePowerCut(t *testing.T) {
	disk := t.TempDir() + "/disk"
	machine := startMachine(t, Options{Disks: []Disk{{Path: disk, Size: 1 << 20}}})
	command := sh("printf kept | dd of=/dev/vda conv=notrunc,fsync status=none; echo started; sleep 1000")
	command.Stdout = signalWriter{machine.Kill}
	if _, err := machine.Run(t.Context(), command); err == nil || !strings.Contains(err.Error(), "the guest is gone") {
		t.Errorf("got %v", err)
	}
	data, err := os.ReadFile(disk)
	if err != nil || !bytes.HasPrefix(data, []byte("kept")) || len(data) != 1<<20 {
		t.Errorf("the disk has %d bytes, %v", len(data), err)
	}
}
