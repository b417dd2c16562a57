package guard

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// guardRig is a host in the middle of a window: home and var are suspended, their
// filesystems frozen. The owner's end of the socket is a descriptor.
type guardRig struct {
	*ioctltest.Kernel
	t     *testing.T
	g     *process
	owner int
	ended chan struct{}
}

// theLock is what the owner has locked.
const theLock = "origin-254_0"

func newGuardRig(t *testing.T) *guardRig {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{})
	r := &guardRig{Kernel: k, t: t, ended: make(chan struct{})}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	r.owner = fds[0]
	mem, err := ioctl.NewShared()
	ok(t, err)
	t.Cleanup(func() { ok(t, mem.Close()) })
	p := program{Version: wireVersion, Deadline: time.Hour, Locks: []string{theLock}, ExpediteBefore: []byte("0\n")}
	r.g = &process{k: k.Border(), socket: fds[1], mem: mem}
	for i, name := range []string{"home", "var"} {
		disk := ioctl.DevNo{Major: 252, Minor: uint32(16 * i)}
		k.AddDisk("vd"+string(rune('a'+i)), disk, 16<<20)
		dev := k.AddDM(name, "", ioctltest.Row{Length: 32768, Type: "linear", Params: disk.String() + " 0"})
		k.Mount(dev, "/"+name, "ext4")
		p.Fronts = append(p.Fronts, Front{Dev: dev})
		f, err := k.Border().Open("/"+name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		ok(t, err)
		r.g.files = append(r.g.files, f)
	}
	p.Mounts = len(r.g.files)
	ok(t, k.Border().MkdirAll(journal.HostLocks, 0o700))
	e, err := OpenExpedite(k.Border())
	ok(t, err)
	ok(t, e.On())
	r.g.files = append(r.g.files, e.file)
	ok(t, r.g.encode(p))
	for i, name := range []string{"home", "var"} {
		k.Freeze("/"+name, true)
		mem.Store(byteFirst+i, freezeHeld)
		k.Suspend(name, true)
	}
	return r
}

// notFrozen: the owner did not come to the freeze of home.
func (r *guardRig) notFrozen() {
	r.g.mem.Store(byteFirst, freezeNone)
	r.Freeze("/home", false)
}

// watch is the guard at work.
func (r *guardRig) watch() {
	go func() {
		r.g.superviseWindow()
		r.g.closeAll()
		close(r.ended)
	}()
}

func (r *guardRig) say(message byte) {
	r.t.Helper()
	_, err := unix.Write(r.owner, []byte{message})
	ok(r.t, err)
}

// die ends the owner, and waits until the guard has done its part.
func (r *guardRig) die() {
	r.t.Helper()
	ok(r.t, unix.Close(r.owner))
	<-r.ended
	for l := range strings.Lines(r.Snapshot()) {
		held := strings.HasPrefix(l, "dm ") && strings.Contains(l, " suspended") || strings.HasPrefix(l, "fs ") && !strings.Contains(l, "frozen=0")
		if held || strings.Contains(l, "rcu_expedited") || strings.Contains(l, "not-to-be-renamed") {
			r.t.Errorf("left by the guard: %s", l)
		}
	}
}

// TestGuardFindsRenamed: somebody renames a suspended front, and takes its name for
// another device.
func TestGuardFindsRenamed(t *testing.T) {
	r := newGuardRig(t)
	ctl, err := r.Border().OpenControl()
	ok(t, err)
	for _, names := range [][2]string{{"home", "casa"}, {"var", "home"}} {
		_, err := ctl.Rename(names[0], names[1], ioctl.Event{})
		ok(t, err)
	}
	r.watch()
	r.say(msgOpen)
	r.die()
}

// TestGuardAsksAgain: a front whose status cannot be had is not one that runs.
func TestGuardAsksAgain(t *testing.T) {
	r := newGuardRig(t)
	r.notFrozen()
	failures := 0
	r.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_STATUS" && c.Name == "home" && failures < 3 {
			failures++
			return unix.ENOMEM
		}
		return nil
	})
	r.watch()
	r.say(msgOpen)
	r.die()
}

// TestGuardKeepsForeignTables: what another program loaded into a front meanwhile is
// there after the guard made it run, and what the owner loaded is gone.
func TestGuardKeepsForeignTables(t *testing.T) {
	r := newGuardRig(t)
	ctl, err := r.Border().OpenControl()
	ok(t, err)
	waits := func(name string) string {
		t.Helper()
		info, specs, err := ctl.Table(ioctl.ID{Name: name}, ioctl.QueryInactive)
		ok(t, err)
		if !info.Inactive {
			return ""
		}
		return specs[0].Type
	}
	for i, name := range []string{"home", "var"} {
		ok(t, ctl.Load(ioctl.ID{Name: name}, 0, []ioctl.Spec{{Length: 32768, Type: []string{"zero", "error"}[i]}}))
	}
	ok(t, r.g.fronts[1].next.Do())
	r.g.fronts[1].waits, _ = r.g.fronts[1].next.Payload()
	r.g.fronts[1].waits = slices.Clone(r.g.fronts[1].waits)
	r.watch()
	r.say(msgOpen)
	r.die()
	if home, other := waits("home"), waits("var"); home != "zero" || other != "" {
		t.Errorf("home has %q waiting, var %q", home, other)
	}
}

// TestGuardLeavesOthersOrigins: an operation that has an origin by now may be about to
// bring its own table live: the guard loads none.
func TestGuardLeavesOthersOrigins(t *testing.T) {
	r := newGuardRig(t)
	ctl, err := r.Border().OpenControl()
	ok(t, err)
	ok(t, r.Border().MkdirAll("/state/lock", 0o700))
	locks, err := journal.Dir{Kernel: r.Border(), Path: "/state"}.Lock(1, theLock)
	ok(t, err)
	ok(t, ctl.Load(ioctl.ID{Name: "var"}, 0, []ioctl.Spec{{Length: 32768, Type: "error"}}))
	ok(t, r.g.fronts[1].next.Do())
	r.g.fronts[1].waits, _ = r.g.fronts[1].next.Payload()
	r.g.fronts[1].waits = slices.Clone(r.g.fronts[1].waits)
	loads := 0
	r.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_TABLE_LOAD" {
			loads++
		}
		return nil
	})
	r.watch()
	r.say(msgOpen)
	ok(t, unix.Close(r.owner))
	<-r.ended
	r.Fail(nil)
	if info, err := ctl.Status(ioctl.ID{Name: "var"}); err != nil || info.Suspended || loads != 0 {
		t.Errorf("%d loads; %+v, %v", loads, info, err)
	}
	ok(t, locks.Unlock())
}

// TestGuardThawsTogether: a thaw that waits keeps none of the others waiting.
func TestGuardThawsTogether(t *testing.T) {
	r := newGuardRig(t)
	var all sync.WaitGroup
	all.Add(2)
	var lonely atomic.Bool
	r.Fail(func(c ioctltest.Call) error {
		if c.Request != "FITHAW" {
			return nil
		}
		all.Done()
		met := make(chan struct{})
		go func() { all.Wait(); close(met) }()
		select {
		case <-met:
		case <-time.After(time.Minute): // of a guard that waits for this one: it would never end
			lonely.Store(true)
		}
		return nil
	})
	r.watch()
	r.say(msgOpen)
	r.die()
	if lonely.Load() {
		t.Error("one filesystem was thawed after the other")
	}
}

// TestGuardSeesLateFreeze: the owner stands still right before it notes a freeze,
// goes on when the guard has thawed everything, and is killed then.
func TestGuardSeesLateFreeze(t *testing.T) {
	r := newGuardRig(t)
	r.notFrozen()
	r.g.deadline = 0
	rounds, idle := 0, make(chan struct{})
	r.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_STATUS" && c.Name == "var" {
			if rounds++; rounds == 4 {
				close(idle)
			}
		}
		return nil
	})
	r.watch()
	r.say(msgOpen)
	<-idle
	r.g.mem.Store(byteFirst, freezeStarted)
	r.Freeze("/home", true)
	r.die()
}

// TestSignalIsNoMessage: the runtime sends itself signals, and each ends a poll. The
// window has not begun by that.
func TestSignalIsNoMessage(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	defer func() { ok(t, errors.Join(unix.Close(fds[0]), unix.Close(fds[1]))) }()
	g := &process{socket: fds[1]}
	thread, heard := make(chan int), make(chan byte)
	go func() {
		thread <- unix.Gettid()
		heard <- g.listen(-1)
	}()
	for tid, n := <-thread, 0; n < 1000; n++ {
		ok(t, unix.Tgkill(os.Getpid(), tid, unix.SIGURG))
		if !waiting(t, tid) {
			n--
		}
	}
	_, err = unix.Write(fds[0], []byte{msgOpen})
	ok(t, err)
	if b := <-heard; b != msgOpen {
		t.Errorf("heard %q", b)
	}
}

// waiting tells whether a thread sleeps.
func waiting(t *testing.T, tid int) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stat", tid))
	ok(t, err)
	_, state, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(state, "S")
}

// TestProgramArrives: descriptors come in more than one message, and are the same.
func TestProgramArrives(t *testing.T) {
	conn, theirs, err := socketPair()
	ok(t, err)
	defer conn.Close()
	null, err := os.Open(os.DevNull)
	ok(t, err)
	defer null.Close()
	p := program{Version: wireVersion, Deadline: time.Second, Fronts: []Front{{Dev: ioctl.DevNo{Major: 254, Minor: 3}}}, Mounts: 2 * batch, ExpediteBefore: []byte("0\n")}
	fds := slices.Repeat([]int{int(null.Fd())}, p.descriptors())
	go func() { ok(t, sendProgram(conn, p, fds)) }()
	got, files, err := receiveProgram(ioctl.Host(), int(theirs.Fd()))
	ok(t, err)
	if got.Deadline != p.Deadline || len(got.Fronts) != 1 || got.Fronts[0].Dev != p.Fronts[0].Dev || len(files) != len(fds) {
		t.Errorf("got %+v and %d descriptors", got, len(files))
	}
	want, err := ioctl.Host().Stat(os.DevNull)
	ok(t, err)
	for _, f := range files {
		if st, err := f.Stat(); err != nil || st.Rdev != want.Rdev {
			t.Fatalf("%+v, %v", st, err)
		}
		ok(t, f.Close())
	}
	ok(t, theirs.Close())
}
