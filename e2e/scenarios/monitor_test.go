package scenarios

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// TestMonitorKeepsASetAlive has a store of 8 MiB and a burst of ten times that, as
// fast as the monitor can follow on this machine. It is killed three times on the
// way, in whatever it is doing, and the next one goes on. The image stays what it
// was, and the writer meets no error.
func TestMonitorKeepsASetAlive(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 3)
	v := lab.Volume{Name: "mon", Device: lab.Linear(t, "mon", disks[0], 0, 120), Store: lab.Store(t, "mon-cow", disks[1], 0, 48)}
	lab.Format(t, "ext4", v.Device)
	v.Dir = lab.Mount(t, v.Device)
	data := filepath.Join(v.Dir, "data")
	lab.Run(t, "sh", "-c", "head -c 84M /dev/urandom > "+data+"; sync -f "+v.Dir)
	spill := lab.Store(t, "mon-spill", disks[2], 0, 128)
	before := lab.Run(t, "dmsetup", "table")
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	set := tool.CreateWith("burst", []string{"--size", "8m"}, v)
	image := set.Volumes[0].Device
	want := sum(t, image)
	for part := range int64(3) {
		m := startMonitor(t, tool, "--threshold", "40", "--spill", spill)
		for at := part * 28; at < (part+1)*28; at++ {
			// What is left must take the writer's journal while no monitor runs.
			awaitRoom(t, "dmsnap-burst-mon", 4<<20)
			overwrite(t, data, at<<20, 1<<20)
		}
		w.WaitFor(t, slots/4)
		if part == 0 {
			m.wait(t, "grown")
		}
		awaitRoom(t, "dmsnap-burst-mon", 4<<20)
		m.kill(t)
		t.Logf("part %d: %s", part, strings.TrimSpace(lab.Run(t, "dmsetup", "status", "dmsnap-burst-mon")))
	}
	if state := tool.Show("burst"); state.State != "active" {
		t.Fatalf("the set is %s: %s", state.State, state.Volumes[0].Reason)
	}
	if got := sum(t, image); got != want {
		t.Error("the image changed")
	}
	w.Stop(t)
	tool.OK("recover")
	tool.OK("remove", "burst")
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
	lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
}

// awaitRoom blocks until the store of an image has room.
func awaitRoom(t *testing.T, image string, bytes uint64) {
	t.Helper()
	ctl, err := ioctl.Host().OpenControl()
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		_, specs, err := ctl.TargetStatus(ioctl.ID{Name: image}, 0)
		if err != nil || len(specs) != 1 {
			t.Fatal(specs, err)
		}
		st, err := targets.ParseSnapshotStatus(specs[0].Params)
		if err != nil || st.State != targets.Active {
			t.Fatal(specs[0].Params, err)
		}
		if (st.Total - st.Used).Bytes() >= bytes {
			return
		}
	}
	t.Fatal("the store does not grow")
}

// TestMonitorTellsWhatItCannotHelp: a store that may not grow overflows at full
// write load. The writer meets no error, and the monitor says what happened.
func TestMonitorTellsWhatItCannotHelp(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "tell", "ext4", disks[0], disks[1], 0, 24)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	tool.CreateWith("small", []string{"--size", "4m"}, v)
	m := startMonitor(t, tool, "--limit", "4m")
	lab.Run(t, "sh", "-c", "head -c 12M /dev/urandom > "+v.Dir+"/flood && sync -f "+v.Dir)
	m.wait(t, "invalid")
	lost(t, tool, w, "small")
	m.kill(t)
	w.Stop(t)
	lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
}

// monitor is a dmsnap monitor at work, with the events it told.
type monitor struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	more   *sync.Cond
	events []string
	ended  bool
}

// startMonitor returns when the monitor has looked at everything once.
func startMonitor(t *testing.T, tool *lab.Tool, args ...string) *monitor {
	t.Helper()
	m := &monitor{cmd: tool.Command(append([]string{"monitor", "--json"}, args...)...)}
	m.more = sync.NewCond(&m.mu)
	notify := newNotifySocket(t)
	m.cmd.Env = append(m.cmd.Environ(), "NOTIFY_SOCKET="+notify.path)
	var errs bytes.Buffer
	m.cmd.Stderr = &errs
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		m.read(json.NewDecoder(out))
	}()
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		<-read
		_ = m.cmd.Wait()
		if t.Failed() {
			t.Logf("monitor: %v\n%s", m.events, errs.String())
		}
	})
	notify.await(t)
	return m
}

func (m *monitor) read(d *json.Decoder) {
	for {
		var line struct{ Events []struct{ Event string } }
		err := d.Decode(&line)
		m.mu.Lock()
		for _, e := range line.Events {
			m.events = append(m.events, e.Event)
		}
		m.ended = err != nil
		m.more.Broadcast()
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// wait blocks until an event is told.
func (m *monitor) wait(t *testing.T, event string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.count(event) == 0 {
		if m.ended {
			t.Fatalf("the monitor ended before %s: %v", event, m.events)
		}
		m.more.Wait()
	}
}

func (m *monitor) count(event string) (n int) {
	for _, e := range m.events {
		if e == event {
			n++
		}
	}
	return n
}

// kill ends it as a crash would, in whatever it is doing.
func (m *monitor) kill(t *testing.T) {
	t.Helper()
	if err := m.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}
