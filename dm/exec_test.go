package dm

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/nsexec"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// stage is a supervisor whose command is a function.
type stage struct {
	program nsexec.Program
	mu      sync.Mutex
	said    []string // signals it got
	told    chan string
	done    chan error
	exit    nsexec.Exit
}

func (s *stage) Done() <-chan error    { return s.done }
func (s *stage) Exit() nsexec.Exit     { return s.exit }
func (s *stage) Layout() nsexec.Layout { return nsexec.Layout{Laid: []string{"/home"}} }

func (s *stage) Signal(sig syscall.Signal) { s.hear(unix.SignalName(sig)) }
func (s *stage) End(sig syscall.Signal)    { s.hear("end " + unix.SignalName(sig)) }

func (s *stage) hear(what string) {
	s.mu.Lock()
	s.said = append(s.said, what)
	s.mu.Unlock()
	s.told <- what
}

// onStage has the host's commands be a function, which gets the stage it is on.
func onStage(h *host, command func(s *stage) nsexec.Exit) *stage {
	s := &stage{told: make(chan string, 10), done: make(chan error, 1)}
	h.m.opts.Supervisor = []string{"supervisor"}
	h.m.supervise = func(_ []string, p nsexec.Program) (supervisor, error) {
		s.program = p
		go func() {
			s.exit = command(s)
			s.done <- nil
		}()
		return s, nil
	}
	return s
}

func succeed(*stage) nsexec.Exit { return nsexec.Exit{} }

func execHome(command ...string) ExecRequest {
	return ExecRequest{
		Create:  CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}},
		Command: command, Dir: "/", Env: []string{"PATH=/bin"},
	}
}

// TestExecLeavesNothing: the set is there while the command runs, leased to us, and
// gone then, whatever the command says.
func TestExecLeavesNothing(t *testing.T) {
	hostOnly(t)
	for _, status := range []int{0, 3, 137} {
		h := newHost(t, ioctltest.Options{Udev: true})
		before := withoutStores(h.Snapshot())
		s := onStage(h, func(*stage) nsexec.Exit {
			set, err := h.m.Show(t.Context(), "nightly")
			if err != nil || set.Lease == nil || set.Lease.Lease != (Lease{PID: os.Getpid()}).String() {
				t.Errorf("while the command runs: %+v, %v", set, err)
			}
			return nsexec.Exit{Status: status}
		})
		x, err := h.m.Exec(t.Context(), execHome("backup", "{dir}", "{}", "{other}"))
		if err != nil || x.Status != status || x.Good != (status == 0) || !x.Ran || x.Kept || x.Set == nil {
			t.Errorf("%+v, %v", x, err)
		}
		if want := []string{"backup", "/home", "{}", "{other}"}; !slices.Equal(s.program.Command, want) {
			t.Errorf("command %q, want %q", s.program.Command, want)
		}
		if len(s.program.Images) != 1 || s.program.Images[0].Origin != h.home.String() || !slices.Contains(s.program.Env, "DMSNAP_SET=nightly") {
			t.Errorf("%+v", s.program)
		}
		same(t, "afterwards", before, withoutStores(h.Snapshot()))
	}
}

// TestExecImageLost: the command is ended at once, and its success counts for nothing.
func TestExecImageLost(t *testing.T) {
	hostOnly(t)
	for name, lose := range map[string]func(h *host) error{
		"invalid": func(h *host) error { h.Invalidate("dmsnap-nightly-home"); return nil },
		"removed": func(h *host) error {
			return h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			before := withoutStores(h.Snapshot())
			onStage(h, func(s *stage) nsexec.Exit {
				check(t, lose(h))
				if told := <-s.told; told != "end SIGTERM" {
					t.Errorf("it was told %s", told)
				}
				return nsexec.Exit{}
			})
			x, err := h.m.Exec(t.Context(), execHome("backup"))
			if !errors.Is(err, ErrNoSpace) || x.Lost == "" || x.Good || x.Status != 0 {
				t.Errorf("%+v, %v", x, err)
			}
			same(t, "afterwards", before, withoutStores(h.Snapshot()))
		})
	}
}

// TestExecDegraded: a set that is less than what was asked for is not worth a
// backup, unless it is allowed.
func TestExecDegraded(t *testing.T) {
	hostOnly(t)
	for _, allowed := range []bool{false, true} {
		h := newHost(t, ioctltest.Options{Udev: true})
		before := withoutStores(h.Snapshot())
		ran := false
		onStage(h, func(*stage) nsexec.Exit { ran = true; return nsexec.Exit{} })
		r := execHome("backup")
		r.AllowDegraded = allowed
		r.Create.Consistency = Filesystem
		r.Create.Hooks = []Hook{{Name: "database", PreFreeze: func(context.Context, HookSet) error { return errors.New("not quiet") }, End: func(context.Context, HookEvent, HookSet) error { return nil }}}
		x, err := h.m.Exec(t.Context(), r)
		if ran != allowed || (err == nil) != allowed || x.Ran != allowed || !allowed && !errors.Is(err, ErrDegraded) {
			t.Errorf("allowed %v: ran %v, %+v, %v", allowed, ran, x, err)
		}
		same(t, "afterwards", before, withoutStores(h.Snapshot()))
	}
}

// TestExecUnsupported: nobody gets a backup of the live system without asking.
func TestExecUnsupported(t *testing.T) {
	hostOnly(t)
	for _, live := range []bool{false, true} {
		h := newBareHost(t, ioctltest.Options{Udev: true})
		h.Mount(h.data, "/data", "ext4")
		ran := false
		s := onStage(h, func(*stage) nsexec.Exit { ran = true; return nsexec.Exit{} })
		r := execHome("backup")
		r.Create.Origins, r.OrLive = []string{"/data"}, live
		x, err := h.m.Exec(t.Context(), r)
		if ran != live || x.Live != live || x.Good || (err == nil) != live || !live && !errors.Is(err, ErrUnsupported) {
			t.Errorf("live %v: ran %v, %+v, %v", live, ran, x, err)
		}
		if s.program.Over || len(s.program.Images) > 0 {
			t.Errorf("%+v", s.program)
		}
	}
}

// TestExecSignals: the first of a kind is the command's to answer, the second of
// those that end it starts the clock.
func TestExecSignals(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	signals := make(chan os.Signal)
	s := onStage(h, func(s *stage) nsexec.Exit {
		for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGINT, unix.SIGINT} {
			signals <- sig
			<-s.told
		}
		return nsexec.Exit{Status: 130, Signal: 2}
	})
	r := execHome("backup")
	r.Signals = signals
	x, err := h.m.Exec(t.Context(), r)
	if want := []string{"SIGUSR1", "SIGINT", "end SIGINT"}; err != nil || x.Status != 130 || !slices.Equal(s.said, want) {
		t.Errorf("%+v, %v; it heard %q, want %q", x, err, s.said, want)
	}
}

// TestExecInterruptedBefore: a signal while the set is made takes it back, and the
// command does not run.
func TestExecInterruptedBefore(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	before := withoutStores(h.Snapshot())
	ran := false
	onStage(h, func(*stage) nsexec.Exit { ran = true; return nsexec.Exit{} })
	signals := make(chan os.Signal)
	r := execHome("backup")
	r.Signals = signals
	once := sync.Once{}
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_CREATE" {
			once.Do(func() { signals <- unix.SIGTERM })
		}
		return nil
	})
	x, err := h.m.Exec(t.Context(), r)
	h.Fail(nil)
	if ran || err == nil || x.Ran || x.Status != nsexec.StatusFailed {
		t.Errorf("ran %v: %+v, %v", ran, x, err)
	}
	same(t, "afterwards", before, withoutStores(h.Snapshot()))
}

// TestExecExistingSet stays.
func TestExecExistingSet(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	s := onStage(h, succeed)
	x, err := h.m.Exec(t.Context(), ExecRequest{Set: "nightly", Command: []string{"sh"}, Dir: "/"})
	if err != nil || !x.Kept || !x.Good || len(s.program.Images) != 2 {
		t.Errorf("%+v, %v", x, err)
	}
	if set, err := h.m.Show(t.Context(), "nightly"); err != nil || set.State != StateActive {
		t.Errorf("%+v, %v", set, err)
	}
}

// TestExecBesideAndBlock: nothing is laid over anything.
func TestExecBesideAndBlock(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	s := onStage(h, succeed)
	r := execHome("tar", "{dir}", "{dir:/var}")
	r.Create, r.As = both(), "/mnt"
	if x, err := h.m.Exec(t.Context(), r); err != nil || !x.Good {
		t.Fatalf("%+v, %v", x, err)
	}
	var at []string
	for _, i := range s.program.Images {
		at = append(at, i.At)
	}
	if s.program.Over || s.program.Below != "/mnt" || !slices.Equal(at, []string{"/mnt/home", "/mnt/var"}) || !slices.Equal(s.program.Command, []string{"tar", "/mnt/home", "/mnt/var"}) {
		t.Errorf("%+v", s.program)
	}
	r = execHome("dd", "{dev}", "{dir}")
	r.Block = true
	if x, err := h.m.Exec(t.Context(), r); err != nil || !x.Good {
		t.Fatalf("%+v, %v", x, err)
	}
	if len(s.program.Images) > 0 || !slices.Equal(s.program.Command, []string{"dd", "/dev/mapper/dmsnap-nightly-home", "{dir}"}) {
		t.Errorf("%+v", s.program)
	}
}

// TestExecNotRemoved: a success whose set stays is not reported as one.
func TestExecNotRemoved(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	var image *ioctl.File
	onStage(h, func(*stage) nsexec.Exit {
		var err error
		image, err = h.Border().Open("/dev/mapper/dmsnap-nightly-home", unix.O_RDONLY, 0)
		check(t, err)
		return nsexec.Exit{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	x, err := h.m.Exec(ctx, execHome("backup"))
	if !errors.Is(err, ErrBusy) || !x.Kept || x.Good || x.Status != 0 {
		t.Errorf("%+v, %v", x, err)
	}
	check(t, image.Close())
}

// TestExecNumbers: the image has the same number every time; of two at once, one has
// it and the other says so.
func TestExecNumbers(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	number := func() DevNo {
		set, err := h.m.Show(t.Context(), "nightly")
		check(t, err)
		return set.Volumes[0].Devno
	}
	var seen []DevNo
	onStage(h, func(*stage) nsexec.Exit { seen = append(seen, number()); return nsexec.Exit{} })
	for range 2 {
		x, err := h.m.Exec(t.Context(), execHome("backup"))
		check(t, err)
		if len(x.Renumbered) > 0 {
			t.Errorf("renumbered %q", x.Renumbered)
		}
	}
	_, err := h.m.Create(t.Context(), CreateRequest{Name: "other", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdd"}, StableNumbers: true})
	check(t, err)
	x, err := h.m.Exec(t.Context(), execHome("backup"))
	check(t, err)
	if seen[0] != seen[1] || !plan.IsStableMinor(seen[0].Minor) || seen[2] == seen[0] || !slices.Equal(x.Renumbered, []string{"/dev/mapper/home"}) {
		t.Errorf("numbers %v, renumbered %q", seen, x.Renumbered)
	}
}
