package dm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// The test binary plays three parts: the tests, a guard, and a tool that dies.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "guard":
		if strings.Contains(os.Getenv("DMSNAP_VICTIM"), `"Drop":true`) {
			go func() {
				for ; ; time.Sleep(10 * time.Millisecond) {
					_ = evict() // the tool tells if this fails
				}
			}()
		}
		os.Exit(GuardMain())
	case os.Getenv("DMSNAP_VICTIM") != "":
		os.Exit(victim(os.Getenv("DMSNAP_VICTIM")))
	}
	// Each window ends with a garbage collection, each of which goes through the profile.
	runtime.MemProfileRate = 0
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// fate is what a victim does, and what becomes of it.
type fate struct {
	Op      string // create, extend, flatten, mount, remove, attach or detach
	Set     string
	Origins []string
	Stores  map[string]string
	Size    Size `json:",omitzero"` // of each store; none: the whole device
	State   string
	Dir     string // to mount images on
	Timeout time.Duration
	How     how
	// Step is the number of the step to meet it at: of the window if Window, else
	// of the whole plan. 0: none.
	Step   int
	Window bool
	// Descriptors is how many it may have open; 0: as many as it likes.
	Descriptors uint64
	// Socket is of a service that makes guards; "": the victim makes its own.
	Socket string
	// Rename is what a device is called, and is to be called when the fate is met.
	Rename [2]string
	// Group is the control group it enters, with its guard; "": none.
	Group string
	// Layer is what to attach with; "": nothing.
	Layer string
	// Root is a directory to make the root of the file system first.
	Root string
	// Log is a file for the logger.
	Log string
	// Drop throws what can be thrown out of memory before each step:
	// what is needed then and not locked would have to be read from what is held.
	Drop bool
}

// how a victim meets its fate.
type how string

const (
	byNothing    how = ""
	byKill       how = "kill"   // right before the step
	byStop       how = "stop"   // right before the step
	byKillInside how = "inside" // says so on descriptor 3 and goes on; to be killed then
	withGuard    how = "both"   // the guard first
)

// victim is the tool that dies.
func victim(text string) int {
	var f fate
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return fail(err)
	}
	if f.Root != "" {
		return fail(f.enter())
	}
	if f.Timeout == 0 {
		f.Timeout = time.Second
	}
	o := Options{StateDir: f.State, Guard: []string{"/proc/self/exe", "guard"}, GuardSocket: f.Socket, LockMemory: true}
	if f.Log != "" {
		file, err := os.Create(f.Log)
		if err != nil {
			return fail(err)
		}
		o.Logger = slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if f.Group != "" {
		if err := os.WriteFile(filepath.Join(f.Group, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fail(err)
		}
	}
	if f.Descriptors > 0 {
		limit := unix.Rlimit{Cur: f.Descriptors, Max: f.Descriptors}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return fail(err)
		}
	}
	m := New(o)
	at, faults := 0, faultCounter{}
	m.fail = func(s plan.Step) error {
		if f.Drop {
			if err := errors.Join(evict(), os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0)); err != nil {
				return err
			}
			if s.Phase == plan.Window {
				faults.look()
			}
		}
		if s.Phase == plan.Window || !f.Window {
			at++
		}
		if f.Step == 0 || at != f.Step {
			return nil
		}
		at++ // once
		fmt.Fprintln(os.Stderr, "step:", s.Phase, s)
		return f.meet()
	}
	err := f.do(m)
	if f.Drop {
		fmt.Fprintf(os.Stderr, "major faults in the window: %d\n", faults.last-faults.first)
	}
	switch {
	case err == nil:
		return 0
	case CodeOf(err) == CodeFreeze:
		fmt.Fprintln(os.Stderr, err)
		return 8
	case CodeOf(err) == CodePartial:
		fmt.Fprintln(os.Stderr, err)
		return 10
	}
	return fail(err)
}

// evict throws everything of this process out of memory that is not locked, to
// swap if need be.
func evict() error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		var start, end uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err != nil {
			return err
		}
		// Refused where memory is locked.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_PAGEOUT)
	}
	return nil
}

// faultCounter counts page faults that had to read a disk.
type faultCounter struct {
	begun       bool
	first, last int64
}

func (c *faultCounter) look() {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // cannot fail
	if c.last = int64(usage.Majflt); !c.begun {
		c.begun, c.first = true, c.last
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func (f *fate) do(m *Manager) error {
	var err error
	switch f.Op {
	case "attach":
		if f.Layer == "" {
			_, err = m.Attach(context.Background(), f.Origins[0])
		} else {
			_, err = m.AttachLayer(context.Background(), f.Origins[0], f.Layer)
		}
	case "detach":
		err = m.Detach(context.Background(), f.Origins[0])
	case "remove":
		err = m.Remove(context.Background(), RemoveRequest{Name: f.Set})
	case "flatten":
		err = m.Remove(context.Background(), RemoveRequest{Name: f.Set, Flatten: true})
	case "extend":
		_, err = m.Extend(context.Background(), larger(f.Set))
	case "mount":
		_, err = m.Mount(context.Background(), f.Set, f.Dir)
	default:
		r := CreateRequest{Name: f.Set, Origins: f.Origins, Stores: f.Stores, StoreSize: f.Size, FreezeTimeout: f.Timeout}
		_, err = m.Create(context.Background(), r)
	}
	return err
}

func (f *fate) meet() error {
	if f.Rename[0] != "" {
		if out, err := exec.Command("dmsetup", "rename", "--noudevsync", f.Rename[0], f.Rename[1]).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	switch f.How {
	case byNothing:
		return nil
	case byKillInside:
		_, err := unix.Write(3, []byte{1})
		return err
	case withGuard:
		if err := killChildren(); err != nil {
			return err
		}
	case byStop:
		// To this very thread: it does not come back to its next call.
		return unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGSTOP)
	}
	return unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGKILL)
}

// killChildren ends the guard, whichever thread made it: the kernel lists children
// by thread. It waits for them: until they are gone they hold locks.
func killChildren() error {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			return err
		}
		for _, pid := range strings.Fields(string(children)) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				return err
			}
			if err := unix.Kill(n, unix.SIGKILL); err != nil {
				return err
			}
			if _, err := unix.Wait4(n, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
				return err
			}
		}
	}
	return nil
}

// enter starts the victim again with everything it has on another root: program,
// state directory, log, working directory.
func (f *fate) enter() error {
	root := f.Root
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range []string{"dev", "proc", "sys", "run"} {
		if err := unix.Mount("/"+dir, filepath.Join(root, dir), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
	}
	if err := errors.Join(unix.Chroot(root), os.Chdir("/")); err != nil {
		return err
	}
	f.Root = ""
	env, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.Setenv("DMSNAP_VICTIM", string(env)); err != nil {
		return err
	}
	return unix.Exec("/victim", []string{"/victim"}, os.Environ())
}

// running is a victim under way.
type running struct {
	*exec.Cmd
	inside *os.File
	said   string // file of its stderr
}

func (f fate) start(t *testing.T) *running {
	t.Helper()
	env, err := json.Marshal(f)
	check(t, err)
	r, w, err := os.Pipe()
	check(t, err)
	defer w.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "DMSNAP_VICTIM="+string(env))
	cmd.ExtraFiles = []*os.File{w}
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	check(t, err)
	defer said.Close()
	cmd.Stderr = said
	check(t, cmd.Start())
	return &running{Cmd: cmd, inside: r, said: said.Name()}
}

// met waits until the fate is met and returns the step, "" if there was none. A
// stopped victim still has to be woken.
func (v *running) met(t *testing.T, h how) (step string) {
	t.Helper()
	switch h {
	case byKillInside:
		if n, _ := v.inside.Read(make([]byte, 1)); n == 1 {
			check(t, v.Process.Kill())
		}
		_ = v.Wait()
	case byStop:
		check(t, unix.Waitid(unix.P_PID, v.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil))
	default:
		_ = v.Wait()
	}
	v.inside.Close()
	said, err := os.ReadFile(v.said)
	check(t, err)
	for l := range strings.Lines(string(said)) {
		if s, ok := strings.CutPrefix(l, "step: "); ok {
			return strings.TrimSpace(s)
		}
	}
	return ""
}

// wake lets a stopped victim go on to its end.
func (v *running) wake(t *testing.T) (status int) {
	t.Helper()
	_ = v.Process.Signal(syscall.SIGCONT) // it may have ended
	_ = v.Wait()
	return v.ProcessState.ExitCode()
}
