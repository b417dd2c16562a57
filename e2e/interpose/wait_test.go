package interpose

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// begin runs a command that is not waited for, and returns what waits for it.
func begin(t *testing.T, name string, args ...string) (*exec.Cmd, chan error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return cmd, done
}

// TestStuckDevice has a disk that does not answer: attaching and detaching it takes for ever and can be killed, and another disk
// is attached and detached meanwhile.
func TestStuckDevice(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	const slow = "slow"
	stuck := newRig(t, "stuck", loopOn(t, lab.Linear(t, slow, disks[0], 0, 64)))
	other := newRig(t, "other", lab.Partition(t, disks[1], 1, 1, 64))

	hanging := false
	answer := func() {
		if hanging {
			lab.Run(t, "dmsetup", "resume", slow)
		}
		hanging = false
	}
	t.Cleanup(answer)
	hang := func() chan error {
		lab.Run(t, "dmsetup", "suspend", "--nolockfs", slow)
		hanging = true
		_, written := begin(t, "dd", "if=/dev/zero", "of="+stuck.plain, "bs=4k", "count=1", "oflag=direct", "conv=notrunc", "status=none")
		return written
	}
	meanwhile := func() {
		other.attach()
		lab.Run(t, "dd", "if=/dev/zero", "of="+other.plain, "bs=64k", "count=4", "oflag=direct", "conv=notrunc", "status=none")
		other.detach()
	}

	written := hang()
	for inFlight(t, stuck.plain) == 0 {
	}
	attach, ended := begin(t, "dmsetup", "message", stuck.base, "0", "attach", "/dev/mapper/"+stuck.front)
	stuck.waitFor(stuck.number(), "attaching")
	meanwhile()
	if err := attach.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	answer()
	if err := <-written; err != nil {
		t.Error(err)
	}
	stuck.waitFor("-", "")

	stuck.attach()
	written = hang()
	for inFlight(t, stuck.plain) == 0 {
	}
	detach, ended := begin(t, "dmsetup", "message", stuck.base, "0", "detach")
	stuck.waitFor(stuck.number(), "detaching")
	meanwhile()
	if err := detach.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
	refused(t, "dmsetup", "message", stuck.base, "0", "attach", "/dev/mapper/"+stuck.front)
	refused(t, "dmsetup", "remove", stuck.front)
	answer()
	if err := <-written; err != nil {
		t.Error(err)
	}
	stuck.waitFor("-", "")
	stuck.attached = false
	stuck.attach()
	stuck.detach()
}

// inFlight is the number of requests that a device has.
func inFlight(t *testing.T, dev string) int { return stat(t, filepath.Base(dev), 9) }

// TestBaseSuspendedWhileDetaching: a suspend of the base does not wait for the detach, nor the detach for the suspend, and writes
// that the front held go on.
func TestBaseSuspendedWhileDetaching(t *testing.T) {
	lab.LoadModule(t)
	plain := lab.Partition(t, lab.Disks(t, 1)[0], 1, 1, 64)
	dir := formatted(t, plain)
	w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
	r := newRig(t, "both", plain)
	for range lab.Rounds(t, 2, 5) {
		r.attach()
		w.WaitFor(t, 2)
		lab.Run(t, "dmsetup", "suspend", "--nolockfs", r.front)
		read, held := begin(t, "dd", "if="+plain, "of=/dev/null", "bs=4k", "count=1", "iflag=direct", "status=none")
		for !readsDevice(read) {
		}
		said := make(chan string)
		for range 2 { // the second message waits for the first
			go func() {
				out, _ := exec.Command("dmsetup", "message", r.base, "0", "detach").CombinedOutput()
				said <- string(out)
			}()
		}
		r.waitFor(r.number(), "detaching")
		lab.Run(t, "dmsetup", "suspend", "--nolockfs", r.base)
		for range 2 {
			if out := <-said; !strings.Contains(out, "in progress") {
				t.Errorf("detach while the front holds a read: %q", out)
			}
		}
		lab.Run(t, "dmsetup", "resume", r.base)
		lab.Run(t, "dmsetup", "resume", r.front)
		if err := <-held; err != nil {
			t.Error(err)
		}
		r.waitFor("-", "")
		r.attached = false
		w.WaitFor(t, 2)
	}
	w.Stop(t)
}

// readsDevice tells that a process is in a read of a block device, or waits there for what the filesystem writes to the same
// place. A bio that a suspended device holds is in no statistics.
func readsDevice(cmd *exec.Cmd) bool {
	stack, err := os.ReadFile(fmt.Sprintf("/proc/%d/stack", cmd.Process.Pid))
	return err == nil && strings.Contains(string(stack), "blkdev_read_iter")
}

// TestHookOnlyWhileAttached looks where the function tracer changed the kernel's text.
func TestHookOnlyWhileAttached(t *testing.T) {
	lab.LoadModule(t)
	tracing := t.TempDir()
	lab.Run(t, "mount", "-t", "tracefs", "tracing", tracing)
	t.Cleanup(func() { lab.Run(t, "umount", tracing) })
	hooked := func() bool {
		return strings.Contains(lab.Run(t, "cat", filepath.Join(tracing, "enabled_functions")), "submit_bio_noacct")
	}
	disks := lab.Disks(t, 2)
	one := newRig(t, "one", lab.Partition(t, disks[0], 1, 1, 64))
	two := newRig(t, "two", lab.Partition(t, disks[1], 1, 1, 64))
	if hooked() {
		t.Error("hooked by a base without a front")
	}
	one.attach()
	two.attach()
	one.detach()
	if !hooked() {
		t.Error("not hooked, although one device is attached")
	}
	two.detach()
	if hooked() {
		t.Error("still hooked after the last detach")
	}
}

// TestLoadedAndUnloaded loads the module, attaches, detaches and unloads it, again and again under a writer.
func TestLoadedAndUnloaded(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	module := os.Getenv("DMSNAP_MODULE")
	lab.Run(t, "modprobe", "dm-mod")
	plain := lab.Partition(t, lab.Disks(t, 1)[0], 1, 1, 64)
	dir := formatted(t, plain)
	w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
	for range lab.Rounds(t, 2, 6) {
		t.Run("round", func(t *testing.T) {
			lab.Run(t, "insmod", module)
			t.Cleanup(func() { lab.Run(t, "rmmod", "dm_interpose") })
			r := newRig(t, "again", plain)
			r.attach()
			w.WaitFor(t, 1)
			r.detach()
		})
	}
	w.Stop(t)
}
