package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestInterruptedAgent interrupts the agent at random moments while writers run
// on its volumes. After a signal that can be caught nothing is left; after a kill
// -9 the next run takes down what was.
func TestInterruptedAgent(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	lab.InstallTool(t, dm.DefaultGuard)
	disks := lab.Disks(t, 2)
	a := &program{t: t, to: t.TempDir(), state: filepath.Join(t.TempDir(), "state")}
	a.add(lab.NewVolume(t, "data", "ext4", disks[0], disks[1], 0, 32))
	a.add(lab.NewVolume(t, "log", "ext4", disks[0], disks[1], 400, 24))
	w := lab.StartWriter(t, 64, filepath.Join(a.volumes[0].Dir, "ring"), filepath.Join(a.volumes[1].Dir, "ring"))
	before := lab.Run(t, "dmsetup", "table")

	whole := min(a.run(nil, 0), a.run(nil, 0)) // the first one also reads what is not in memory yet
	a.complete(before)
	seed := uint64(time.Now().UnixNano())
	t.Logf("a whole run takes %v; seed %d", whole, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	signals := []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGKILL}
	for i := range 50 {
		s := signals[i%len(signals)]
		a.run(s, time.Duration(random.Int64N(int64(whole))))
		if s == unix.SIGKILL {
			a.run(nil, 0)
		}
		if now := a.tables(); now != before {
			t.Fatalf("tables before:\n%safter:\n%s", before, now)
		}
		w.WaitFor(t, 1) // nothing is held
	}
	a.run(nil, 0)
	a.complete(before)
	w.Stop(t)
}

// program is the agent as a process of its own.
type program struct {
	t         *testing.T
	to, state string
	volumes   []lab.Volume
	words     []string
}

func (a *program) add(v lab.Volume) {
	a.volumes = append(a.volumes, v)
	a.words = append(a.words, v.Dir+"="+v.Store)
}

// run runs the agent, and sends it a signal after some time unless that is nil.
func (a *program) run(s os.Signal, after time.Duration) time.Duration {
	a.t.Helper()
	var said bytes.Buffer
	cmd := exec.Command("/proc/self/exe", append([]string{"-to", a.to, "-state-dir", a.state}, a.words...)...)
	cmd.Env = append(os.Environ(), "AGENT_MAIN=1")
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	if s == nil {
		if err := cmd.Wait(); err != nil {
			a.t.Fatalf("%v\n%s", err, said.String())
		}
		return time.Since(start)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Signal(s) })
	err := cmd.Wait()
	timer.Stop()
	a.t.Logf("%v after %v: %v, %s", s, after, err, strings.TrimSpace(said.String()))
	return time.Since(start)
}

func (a *program) tables() string { return lab.Run(a.t, "dmsetup", "table") }

// complete expects all copies and nothing else: no device, no part of a copy.
func (a *program) complete(before string) {
	a.t.Helper()
	if now := a.tables(); now != before {
		a.t.Errorf("tables before:\n%safter:\n%s", before, now)
	}
	for _, v := range a.volumes {
		lab.Run(a.t, "blkid", "-p", filepath.Join(a.to, v.Name+".img"))
	}
	if files, err := os.ReadDir(a.to); err != nil || len(files) != len(a.volumes) {
		a.t.Errorf("files %v, %v", files, err)
	}
}
