package freeze_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
)

// inGuest skips on any machine that is not a guest of ours: these tests mount,
// freeze and load modules. It gives the test RAM disks of 320 MiB.
func inGuest(t *testing.T) *ioctl.Kernel {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	run(t, "modprobe", "brd", "rd_nr=4", "rd_size=327680")
	// Fails if anything still uses one.
	t.Cleanup(func() { eventually(t, func() error { return exec.Command("rmmod", "brd").Run() }) })
	return ioctl.Host()
}

// eventually tries for as long as udev may have a device open that it was just
// told of.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	err := f()
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); err = f() {
		time.Sleep(20 * time.Millisecond)
	}
	must(t, err)
}

func run(t *testing.T, line ...string) string {
	t.Helper()
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mkfs makes a filesystem and gives the device's number.
func mkfs(t *testing.T, fstype, device string, options ...string) ioctl.DevNo {
	t.Helper()
	force := map[string][]string{"ext4": {"-F", "-q"}, "xfs": {"-f", "-q"}, "btrfs": {"-f", "-q"}, "f2fs": {"-f", "-q"}}
	line := append([]string{"mkfs." + fstype}, force[fstype]...)
	run(t, append(append(line, options...), device)...)
	return number(t, device)
}

func number(t *testing.T, device string) ioctl.DevNo {
	t.Helper()
	st, err := ioctl.Host().Stat(device)
	must(t, err)
	return st.Rdev
}

// mount mounts on a fresh directory below parent and unmounts at the end.
func mount(t *testing.T, parent, device string, options ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "m")
	must(t, err)
	run(t, append(append([]string{"mount"}, options...), device, dir)...)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

func mounts(t *testing.T, k *ioctl.Kernel) *freeze.Table {
	t.Helper()
	table, err := freeze.Mounts(k)
	must(t, err)
	for _, p := range table.Problems() {
		t.Errorf("problem: %v", p)
	}
	return table
}

// open opens the filesystems of devices and closes them before the unmounts.
func open(t *testing.T, k *ioctl.Kernel, devices ...ioctl.DevNo) *freeze.Set {
	t.Helper()
	var on []freeze.Device
	for _, d := range devices {
		on = append(on, freeze.Device{DevNo: d})
	}
	set, err := freeze.Open(k, mounts(t, k).Plan(on...))
	must(t, err)
	t.Cleanup(func() { must(t, set.Close()) })
	return set
}

// hold freezes behind the back of the package.
func hold(t *testing.T, k *ioctl.Kernel, dir string) *ioctl.File {
	t.Helper()
	f, err := k.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	must(t, f.Freeze())
	return f
}

// writer is a goroutine that creates a file, on a thread that can be watched.
type writer struct {
	path string
	tid  int
	done chan error
}

func startWriter(dir string) *writer {
	w := &writer{path: filepath.Join(dir, "written"), done: make(chan error, 1)}
	started := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		started <- unix.Gettid()
		w.done <- os.WriteFile(w.path, []byte("x"), 0o600)
	}()
	w.tid = <-started
	return w
}

// mustBlock waits until the kernel shows the writer asleep in a freeze.
func (w *writer) mustBlock(t *testing.T) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		stack, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stack", w.tid))
		if err == nil && bytes.Contains(stack, []byte("percpu_rwsem_wait")) {
			return
		}
		select {
		case err := <-w.done:
			t.Fatalf("the writer was not held: %v", err)
		case <-limit:
			t.Fatalf("the writer is not seen waiting: %v\n%s", err, stack)
		case <-tick.C:
		}
	}
}

// mustFinish waits for the writer to come back.
func (w *writer) mustFinish(t *testing.T) {
	t.Helper()
	select {
	case err := <-w.done:
		must(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the writer is still held")
	}
}

func wantKind(t *testing.T, err error, kind error, errno error) {
	t.Helper()
	var e *freeze.Error
	if !errors.As(err, &e) || !errors.Is(err, kind) || errno != nil && !errors.Is(err, errno) {
		t.Fatalf("got %v, want %v and %v", err, kind, errno)
	}
}

// partitioned makes a disk image with one partition, in sectors.
func partitioned(t *testing.T, path string, start, length uint32) {
	t.Helper()
	mbr := make([]byte, 512)
	mbr[446+4] = 0x83 // Linux
	binary.LittleEndian.PutUint32(mbr[446+8:], start)
	binary.LittleEndian.PutUint32(mbr[446+12:], length)
	mbr[510], mbr[511] = 0x55, 0xaa
	must(t, os.WriteFile(path, mbr, 0o600))
	must(t, os.Truncate(path, int64(start+length)*512))
}
