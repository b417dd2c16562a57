package scenarios

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestExecEndsAnywhere: dmsnap, its command or both get a signal at a random moment,
// of the set's making and removal too. No process, device or mount is left, and the
// backup counts as good only if nothing happened to it.
func TestExecEndsAnywhere(t *testing.T) {
	lab.Need(t)
	lab.Wide(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 64)
	begun := time.Now()
	tool.OK(execOf(v, "true")...)
	whole := time.Since(begun)
	devices := lab.Run(t, "dmsetup", "ls")
	const seed = 17
	random := rand.New(rand.NewPCG(seed, seed))
	signals := []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGKILL}
	for round := range lab.Rounds(t, 3, 102) {
		sig, target := signals[round%3], []string{"dmsnap", "the command", "both"}[(round+round/3)%3]
		wait := time.Duration(random.Int64N(int64(whole)))
		what := fmt.Sprintf("round %d: %v to %s after %v", round, sig, target, wait)
		switch {
		case target != "dmsnap":
			endCommand(t, tool, v, sig, target == "both", wait/4, what)
		case round/9%2 == 0:
			endOne(t, tool, sig, wait, what, execOf(v, "sleep", "1000"))
		default: // in its removal too, or too late
			endOne(t, tool, sig, wait, what, execOf(v, "true"))
		}
		allGone(t, tool, what)
		if now := lab.Run(t, "dmsetup", "ls"); now != devices {
			t.Fatalf("%s: devices\n%s", what, now)
		}
	}
}

// endOne sends a signal to an exec from whose start some time has passed. One whose
// command ends by itself may have succeeded.
func endOne(t *testing.T, tool *lab.Tool, sig unix.Signal, wait time.Duration, what string, args []string) {
	t.Helper()
	c := tool.Command(args...)
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(wait) // the moment is what is random
	_ = c.Process.Signal(sig)
	_ = c.Wait() // its status is looked at
	if c.ProcessState.Success() && args[len(args)-1] != "true" {
		t.Errorf("%s: a success\n%s", what, said.String())
	}
}

// endCommand sends a signal to a command that runs, and to its dmsnap.
func endCommand(t *testing.T, tool *lab.Tool, v lab.Volume, sig unix.Signal, both bool, wait time.Duration, what string) {
	t.Helper()
	r := startExec(t, tool, v, "--kill-after", "1s")
	time.Sleep(wait)
	if both {
		_ = r.Process.Signal(sig) // the other's end may be faster
	}
	for _, pid := range r.pids {
		if pid != r.supervisorOrNone() {
			_ = unix.Kill(pid, sig)
		}
	}
	_ = r.Wait() // its status is looked at
	if r.ProcessState.Success() {
		t.Errorf("%s: a success\n%s", what, r.err(t))
	}
	r.gone(t, what)
}

// allGone waits until recover has nothing to do any more: what was killed takes a
// moment to end, and the guard to let go.
func allGone(t *testing.T, tool *lab.Tool, what string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, stderr, code := tool.Try("recover", "--wait", "30s")
		sets := tool.OK("list")
		if code == 0 && sets == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: left\n%s\nrecover: exit %d\n%s", what, sets, code, stderr)
		}
	}
}
