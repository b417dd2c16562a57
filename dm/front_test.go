package dm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// extended is the size of the table that lvm2 gives home: more of the disk it is on.
const extended = 40960

// lvm2 is a program that reloads home while dmsnap is at it: all at once, or the
// table first and the rest when dmsnap is done.
type lvm2 struct {
	*host
	whole bool
	row   ioctltest.Row
}

func newLVM2(t *testing.T, o ioctltest.Options, whole bool, prepare func(*testing.T, *host)) *lvm2 {
	t.Helper()
	h := newHost(t, o)
	disk := ioctl.DevNo{Major: 252, Minor: 240}
	h.AddDisk("vdp", disk, 32*mib)
	h.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: disk.String() + " 0"})
	prepare(t, h)
	return &lvm2{h, whole, ioctltest.Row{Length: extended, Type: "linear", Params: disk.String() + " 0"}}
}

func (l *lvm2) begin() {
	if l.whole {
		l.Reload("home", l.row)
	} else {
		l.Load("home", l.row)
	}
}

// end is what lvm2 does after it has loaded.
func (l *lvm2) end() {
	if !l.whole {
		l.Suspend("home", true)
		l.Suspend("home", false)
	}
}

// live is the table of home.
func (l *lvm2) live() string {
	for line := range strings.Lines(l.Snapshot()) {
		if table, ok := strings.CutPrefix(line, "dm home live "); ok {
			return strings.TrimSpace(table)
		}
	}
	return ""
}

// blind are the calls right before which nobody can notice what another program
// loads: they put a table where that one is, or drop it.
func blind(c ioctltest.Call) bool {
	return c.Name == "home" && (c.Request == "DM_TABLE_LOAD" || c.Request == "DM_TABLE_CLEAR")
}

func beside(t *testing.T, h *host) {
	h.create(t, CreateRequest{Name: "first", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdd"}})
}

// TestReloadedMeanwhile: lvm2 loads a table of its own into an origin before each
// call of an operation in turn. That table is the live one when both are done, and
// whatever set there is says that it is bypassed, and goes.
func TestReloadedMeanwhile(t *testing.T) {
	hostOnly(t)
	for name, op := range map[string]operation{
		"create":        operations["create"],
		"create beside": operations["create beside"],
		"remove": {
			prepare: func(t *testing.T, h *host) { h.create(t, both()) },
			do:      func(h *host) error { return h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}) },
		},
		"remove beside": {
			prepare: func(t *testing.T, h *host) { beside(t, h); h.create(t, both().on("/dev/vdc", "/dev/vde")) },
			do:      func(h *host) error { return h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}) },
		},
	} {
		for _, whole := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, at once %v", name, whole), func(t *testing.T) {
				t.Parallel()
				for n := 1; !t.Failed() && reloadAt(t, n, op, whole); n += 8*step() - 7 {
				}
			})
		}
	}
}

// on is the request with stores elsewhere.
func (r CreateRequest) on(home, vard string) CreateRequest {
	r.Stores = map[string]string{"/home": home, "/var": vard}
	return r
}

func reloadAt(t *testing.T, n int, op operation, whole bool) (more bool) {
	t.Helper()
	l := newLVM2(t, ioctltest.Options{}, whole, func(t *testing.T, h *host) {
		h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 16*mib)
		op.prepare(t, h)
	})
	first := l.Calls()
	var at *ioctltest.Call
	l.Fail(func(c ioctltest.Call) error {
		if c.N == first+n {
			l.begin()
			at = &c
		}
		return nil
	})
	err := op.do(l.host)
	l.Fail(nil)
	if at == nil {
		return false
	}
	l.end()
	what := fmt.Sprintf("%s, then %v", at, err)
	lost := !whole && blind(*at)
	if _, typed := errors.AsType[*Error](err); err != nil && (!typed || !slices.Contains([]Code{CodeBusy, CodePartial, CodeFreeze}, CodeOf(err))) {
		t.Errorf("%s: %v", what, CodeOf(err))
	}
	want := fmt.Sprintf("0 %d linear 252:240 0", extended)
	if over := strings.HasPrefix(l.live(), fmt.Sprintf("0 %d snapshot-origin", extended)); !lost && !over && l.live() != want {
		t.Errorf("%s: home runs on %q, lvm2 gave it %q", what, l.live(), want)
	}
	l.setsGo(t, what, lost)
	if !lost && l.live() != want {
		t.Errorf("%s: without sets home runs on %q, lvm2 gave it %q", what, l.live(), want)
	}
	return true
}

// setsGo: a set that is left is protected or says that it is not, and nothing of ours
// stays when all are removed.
func (l *lvm2) setsGo(t *testing.T, what string, lost bool) {
	t.Helper()
	_, err := l.m.Recover(l.ctx)
	check(t, err)
	sets, err := l.m.List(l.ctx)
	check(t, err)
	for _, set := range sets {
		guarded := l.Protected("dmsnap-"+set.Name+"-home") == nil
		if guarded != (set.State == StateActive) && !lost {
			t.Errorf("%s: set %s is %s", what, set.Name, set.State)
		}
	}
	for _, set := range sets {
		if err := l.m.Remove(l.ctx, RemoveRequest{Name: set.Name}); err != nil {
			t.Errorf("%s: removal of %s: %v", what, set.Name, err)
		}
	}
	if left := l.Snapshot(); strings.Contains(left, "DMSNAP") {
		t.Errorf("%s: left over:\n%s", what, dmLines(left))
	}
	l.healthy(t)
}

// TestReloadedAfterAKill: dmsnap is killed while home stands still, and lvm2 loads a
// table meanwhile. Recover makes home run on what it had; lvm2's table is not lost,
// and goes live when lvm2 says so.
func TestReloadedAfterAKill(t *testing.T) {
	hostOnly(t)
	for _, name := range []string{"create", "remove"} {
		op, killed := killable()[name], 0
		for n := 1; !t.Failed(); n++ {
			l := newLVM2(t, ioctltest.Options{}, false, op.prepare)
			left := n
			at, err := l.dieAt(func(c ioctltest.Call) bool {
				if c.Request == "DM_DEV_RESUME" || c.Request == "DM_DEV_SUSPEND" {
					left--
				}
				return left <= 0
			}, op.do)
			if at == nil {
				check(t, err)
				break
			}
			l.Exit()
			if !strings.Contains(l.Snapshot(), "dm home 254:0 uuid=LVM-home open=1 suspended") {
				continue
			}
			killed++
			l.begin()
			before := l.live()
			if _, err := New(l.m.opts).Recover(l.ctx); err != nil && CodeOf(err) != CodeBusy {
				t.Errorf("killed before %s: %v", at, err)
			}
			if l.live() != before {
				t.Errorf("killed before %s: recover brought %q live", at, l.live())
			}
			l.end()
			if want := fmt.Sprintf("0 %d linear 252:240 0", extended); l.live() != want {
				t.Errorf("killed before %s: home runs on %q, lvm2 gave it %q", at, l.live(), want)
			}
			_, err = New(l.m.opts).Recover(l.ctx)
			check(t, err)
			l.setsGo(t, "killed before "+at.String(), false)
		}
		if killed == 0 {
			t.Errorf("%s: never killed in its window", name)
		}
	}
}

// TestOthersWorkMeanwhile: what recover cannot end before lvm2 is done with home keeps
// nobody from taking a set of var.
func TestOthersWorkMeanwhile(t *testing.T) {
	hostOnly(t)
	op := killable()["remove"]
	l := newLVM2(t, ioctltest.Options{}, false, op.prepare)
	_, err := l.dieAt(func(c ioctltest.Call) bool { return c.Request == "DM_DEV_SUSPEND" && c.Name == "home" }, op.do)
	check(t, err)
	l.Exit()
	l.begin()
	m := New(l.m.opts)
	if _, err := m.Recover(l.ctx); !errors.Is(err, ErrBusy) {
		t.Errorf("recover: %v", err)
	}
	l.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 16*mib)
	l.elsewhereOn(t, "/other")
	_, err = m.Create(l.ctx, CreateRequest{Name: "others", Origins: []string{"/other"}, Stores: map[string]string{"": "/dev/vde"}})
	check(t, err)
	l.end()
	_, err = m.Recover(l.ctx)
	check(t, err)
	check(t, m.Remove(l.ctx, RemoveRequest{Name: "others"}))
}

// elsewhereOn mounts another device-mapper device.
func (l *lvm2) elsewhereOn(t *testing.T, dir string) {
	t.Helper()
	disk := ioctl.DevNo{Major: 252, Minor: 192}
	l.AddDisk("vdm", disk, 16*mib)
	l.Mount(l.AddDM("other", "LVM-other", ioctltest.Row{Length: 32768, Type: "linear", Params: disk.String() + " 0"}), dir, "ext4")
}
