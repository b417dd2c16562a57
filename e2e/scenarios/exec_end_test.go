package scenarios

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// execRun is an exec whose command has begun.
type execRun struct {
	*exec.Cmd
	pids []int    // of the command, of a child with a session of its own, and of the supervisor
	said *os.File // no pipe, which those who live on would keep open
}

// err is the error that dmsnap printed.
func (r *execRun) err(t *testing.T) string {
	t.Helper()
	return readText(t, r.said.Name())
}

// startExec starts an exec whose command tells its processes and then sleeps.
func startExec(t *testing.T, tool *lab.Tool, v lab.Volume, more ...string) *execRun {
	t.Helper()
	args := append([]string{"exec", v.Dir, "--store", v.Store}, more...)
	r := &execRun{Cmd: tool.Command(append(args, "--", "sh", "-c", `
		setsid sh -c 'echo $$ >&3; exec sleep 1000' 3>&1 >/dev/null &
		echo $$ $PPID; trap 'exit 42' TERM; while :; do sleep 1000 & wait; done`)...)}
	var err error
	if r.said, err = os.CreateTemp(t.TempDir(), "said"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.said.Close() })
	r.Stderr = r.said
	pipe, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	words := bufio.NewScanner(pipe)
	words.Split(bufio.ScanWords)
	for len(r.pids) < 3 && words.Scan() {
		pid, err := strconv.Atoi(words.Text())
		if err != nil {
			t.Fatal(err)
		}
		r.pids = append(r.pids, pid)
	}
	if len(r.pids) < 3 {
		t.Fatalf("the command did not begin: %v\n%s", r.Wait(), r.err(t))
	}
	return r
}

// supervisor is the parent of the command.
func (r *execRun) supervisor(t *testing.T) int {
	t.Helper()
	pid := r.supervisorOrNone()
	if pid == 0 {
		t.Fatalf("no supervisor among %v", r.pids)
	}
	return pid
}

// supervisorOrNone is 0 when it has ended.
func (r *execRun) supervisorOrNone() int {
	for _, pid := range r.pids {
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil && strings.HasPrefix(string(b), "exec-supervisor") {
			return pid
		}
	}
	return 0
}

// gone expects that none of the processes lives.
func (r *execRun) gone(t *testing.T, what string) {
	t.Helper()
	for _, pid := range r.pids {
		for deadline := time.Now().Add(time.Minute); unix.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: process %d lives", what, pid)
			}
		}
	}
}

// noSets expects that nothing is left, at the latest when the next command has run.
func noSets(t *testing.T, tool *lab.Tool, what string) {
	t.Helper()
	tool.OK("recover")
	if sets := tool.OK("list"); sets != "" {
		t.Errorf("%s: left\n%s", what, sets)
	}
}

// TestExecEnds: however it ends, no process, mount or device is left, and nobody
// takes it for a success.
func TestExecEnds(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 64)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, r *execRun)
		want int  // -1: killed
		live bool // nobody ends what the command has started
	}{
		{"the command is told to end", func(_ *testing.T, r *execRun) { r.Process.Signal(unix.SIGTERM) }, 42, false},
		{"the command does not end", func(t *testing.T, r *execRun) {
			supervisor := r.supervisor(t)
			for _, pid := range r.pids {
				if pid != supervisor {
					unix.Kill(pid, unix.SIGSTOP)
				}
			}
			go func() { // two that come at once are one
				for r.Process.Signal(unix.SIGTERM) == nil {
					time.Sleep(50 * time.Millisecond)
				}
			}()
		}, 128 + 9, false},
		{"dmsnap is killed", func(_ *testing.T, r *execRun) { r.Process.Kill() }, -1, false},
		{"the supervisor is killed", func(t *testing.T, r *execRun) { unix.Kill(r.supervisor(t), unix.SIGKILL) }, 125, true},
		{"both are killed", func(t *testing.T, r *execRun) {
			supervisor := r.supervisor(t)
			unix.Kill(r.Process.Pid, unix.SIGSTOP) // so that neither sees the other's end
			unix.Kill(supervisor, unix.SIGKILL)
			r.Process.Kill()
		}, -1, true},
		{"another program reloads the origin", func(t *testing.T, _ *execRun) {
			lab.Run(t, "dmsetup", "suspend", v.Name)
			lab.Run(t, "dmsetup", "load", v.Name, "--table", "0 "+strconv.Itoa(64*lab.MiB)+" linear "+disks[0]+" 0")
			lab.Run(t, "dmsetup", "resume", v.Name)
		}, 124, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startExec(t, tool, v, "--kill-after", "1s")
			c.do(t, r)
			_ = r.Wait() // its status is looked at
			code := r.ProcessState.ExitCode()
			if code != c.want {
				t.Errorf("exit %d, want %d\n%s", code, c.want, r.err(t))
			}
			if c.live { // those below the command have lost their supervisor, and one of them is named
				if _, stderr, _ := tool.Try("recover"); !slices.ContainsFunc(r.pids, func(pid int) bool { return strings.Contains(stderr, "pid "+strconv.Itoa(pid)) }) {
					t.Errorf("recover names none of %v: %s", r.pids, stderr)
				}
				for _, pid := range r.pids {
					unix.Kill(-pid, unix.SIGKILL)
				}
			}
			r.gone(t, c.name)
			noSets(t, tool, c.name)
		})
	}
}

// TestExecImageLost: a store that is full ends the command at once.
func TestExecImageLost(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 64)
	r := startExec(t, tool, v, "--size", "4m")
	lab.Run(t, "dd", "if=/dev/urandom", "of="+v.Dir+"/fill", "bs=1M", "count=40", "conv=fsync", "status=none")
	_ = r.Wait() // its status is looked at
	if code := r.ProcessState.ExitCode(); code != 124 || !strings.Contains(r.err(t), "an image was lost") {
		t.Errorf("exit %d\n%s", code, r.err(t))
	}
	r.gone(t, "a full store")
	noSets(t, tool, "a full store")
}

// TestExecWays has the images elsewhere, or as devices, or those of a set that
// stays.
func TestExecWays(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 64)
	w := lab.NewVolume(t, "srv", "xfs", disks[0], disks[1], 64, 320)
	as := t.TempDir()
	writeLine(t, v.Dir+"/file", "home")
	writeLine(t, w.Dir+"/file", "srv")
	below := v.Dir + "/below"
	lab.Run(t, "mkdir", below)
	lab.Run(t, "mount", "--bind", w.Dir, below)
	t.Cleanup(func() { lab.Run(t, "umount", below) })

	stores := []string{"--store", v.Dir + "=" + v.Store, "--store", w.Dir + "=" + w.Store}
	both := append([]string{"exec", v.Dir, w.Dir, "--as", as}, stores...)
	if out := tool.OK(append(both, "--", "sh", "-c", "cat {dir:"+v.Dir+"}/file {dir:"+w.Dir+"}/file; touch "+v.Dir+"/live && ls "+v.Dir+"/live")...); out != "home\nsrv\n"+v.Dir+"/live\n" {
		t.Errorf("--as: %s", out)
	}
	if out := tool.OK("exec", v.Dir, "--store", v.Store, "--block", "--", "sh", "-c", "blockdev --getro {dev}; dumpe2fs -h {dev} 2>/dev/null | grep -c UUID"); out != "1\n1\n" {
		t.Errorf("--block: %s", out)
	}
	if out := tool.OK("exec", v.Dir, "--store", v.Store, "--", "cat", below+"/file"); out != "srv\n" {
		t.Errorf("live below: %s", out)
	}
	if out := tool.OK("exec", v.Dir, "--store", v.Store, "--only", "--", "ls", "-A", below); out != "" {
		t.Errorf("--only: %s", out)
	}
	tool.Create("kept", v)
	writeLine(t, v.Dir+"/file", "later")
	if out := tool.OK("shell", "kept", "--", "cat", v.Dir+"/file"); out != "home\n" {
		t.Errorf("shell: %s", out)
	}
	if set := tool.Show("kept"); set.State != "active" {
		t.Errorf("after shell the set is %s", set.State)
	}
	tool.OK("remove", "kept")
}
