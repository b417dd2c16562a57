package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// held is how long the slow device takes for a write.
const held = 12 * time.Second

// TestHangingStore: a store takes its time for each write, and writers of the origin wait for it. Thaw --invalidate ends that:
// what the driver has is waited for once, then nobody waits any more. Only the image is lost.
func TestHangingStore(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	tool, w, v := hangable(t, func(disk string) string {
		return lab.Table(t, "slow", fmt.Sprintf("0 %d linear %s 0", 64*lab.MiB, disk))
	})
	slow := fmt.Sprintf("0 %d delay %s 0 0 %s 0 %d", 64*lab.MiB, lab.Disks(t, 2)[1], lab.Disks(t, 2)[1], held.Milliseconds())
	swap(t, "slow", slow)
	waiting := victim(t, v)
	began := time.Now()
	if out := tool.OK("thaw", "--invalidate", "one"); !strings.Contains(out, "one") {
		t.Errorf("said: %s", out)
	}
	if took := time.Since(began); took > 2*held {
		t.Errorf("it took %s", took)
	}
	goesOn(t, tool, w, v, waiting)
}

// TestQueueingStore: the store's multipath device has no path and keeps what it is given. Nobody but that device can end
// this; when it does, the store gets nothing more, and writers go on.
func TestQueueingStore(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disk := lab.Disks(t, 2)[1]
	tool, w, v := hangable(t, func(disk string) string { return lab.Multipath(t, "paths", "bio", disk) })
	lab.Run(t, "dmsetup", "message", "paths", "0", "queue_if_no_path")
	lab.Run(t, "dmsetup", "message", "paths", "0", "fail_path", number(t, disk))
	t.Cleanup(func() { lab.Run(t, "dmsetup", "message", "paths", "0", "fail_if_no_path") })
	waiting := victim(t, v)
	done := make(chan string, 1)
	go func() {
		_, stderr, code := tool.Try("thaw", "--invalidate", "one")
		done <- fmt.Sprint(code, " ", stderr)
	}()
	select {
	case said := <-done:
		t.Errorf("it ended while the device kept what it was given: %s", said)
	case <-time.After(6 * time.Second):
	}
	lab.Run(t, "dmsetup", "message", "paths", "0", "fail_if_no_path")
	if said := <-done; !strings.HasPrefix(said, "0 ") {
		t.Errorf("exit %s", said)
	}
	goesOn(t, tool, w, v, waiting)
}

func number(t *testing.T, disk string) string {
	t.Helper()
	return strings.TrimSpace(lab.Run(t, "lsblk", "-dno", "MAJ:MIN", disk))
}

func hangable(t *testing.T, store func(disk string) string) (*lab.Tool, *lab.Writer, lab.Volume) {
	t.Helper()
	disks := lab.Disks(t, 2)
	v := lab.Volume{Device: lab.Linear(t, "org", disks[0], 0, 64), Store: store(disks[1])}
	lab.Format(t, "ext4", v.Device)
	v.Dir = lab.Mount(t, v.Device)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	w.WaitFor(t, 3)
	tool.Create("one", v)
	return tool, w, v
}

// swap gives a device another table.
func swap(t *testing.T, name, table string) {
	t.Helper()
	lab.Run(t, "dmsetup", "suspend", "--noflush", "--nolockfs", name)
	lab.Run(t, "dmsetup", "load", name, "--table", table)
	lab.Run(t, "dmsetup", "resume", name)
}

// victim writes where nothing was written since the cut, one chunk after the other, and waits for the store by now. What it
// ends with comes through the channel.
func victim(t *testing.T, v lab.Volume) <-chan error {
	t.Helper()
	cmd := exec.Command("dd", "if=/dev/urandom", "of="+filepath.Join(v.Dir, "victim"), "bs=64k", "count=64", "oflag=dsync")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stat := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
	for asleep, until := 0, time.Now().Add(time.Minute); asleep < 20; time.Sleep(100 * time.Millisecond) {
		text, err := os.ReadFile(stat)
		if err != nil || time.Now().After(until) {
			t.Fatalf("it does not wait for the store: %v", err)
		}
		if asleep++; !strings.Contains(string(text), ") D ") {
			asleep = 0
		}
	}
	return ended
}

// goesOn expects the victim to end within a minute, although it would have waited for the store at each further chunk; the
// set says that it is lost, and can be removed.
func goesOn(t *testing.T, tool *lab.Tool, w *lab.Writer, v lab.Volume, waiting <-chan error) {
	t.Helper()
	from := time.Now()
	select {
	case err := <-waiting:
		if err != nil {
			t.Errorf("the victim got %v", err)
		}
		t.Logf("the victim ended after %s", time.Since(from))
	case <-time.After(time.Minute):
		t.Error("the victim still waits for the store")
	}
	w.WaitFor(t, slots)
	if set := tool.Show("one"); set.State != "invalid" || !strings.Contains(set.Volumes[0].Reason, "given up") {
		t.Errorf("the set is %s because %q", set.State, set.Volumes[0].Reason)
	}
	tool.OK("remove", "one")
	w.WaitFor(t, slots)
	w.Stop(t)
	lab.Run(t, "umount", v.Dir)
	lab.Run(t, "e2fsck", "-fn", v.Device)
	lab.Run(t, "mount", v.Device, v.Dir)
	lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
}
