package dm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// killed is what the process dies of.
type killed struct{ call ioctltest.Call }

// die runs an operation whose process ends right before its call n.
func (h *host) die(n int, do func(*host) error) (at *ioctltest.Call, err error) {
	first := h.Calls()
	return h.dieAt(func(c ioctltest.Call) bool { return c.N-first >= n }, do)
}

// dieAt runs an operation whose process ends right before a call, and does not
// come to the calls after it either: what is deferred does not happen, nor what its
// other threads do.
func (h *host) dieAt(dead func(ioctltest.Call) bool, do func(*host) error) (at *ioctltest.Call, err error) {
	var mu sync.Mutex // the window calls from several threads
	died := false
	h.Fail(func(c ioctltest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if died = died || dead(c); died {
			panic(killed{c})
		}
		return nil
	})
	defer h.Fail(nil)
	defer func() {
		if k, dead := recover().(killed); dead {
			at = &k.call
		}
	}()
	return nil, do(h)
}

// killable are the operations of the kill tests: those of the fault tests that
// change devices, and removals.
func killable() map[string]operation {
	remove := func(h *host) error { return h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}) }
	return map[string]operation{
		"create":                        operations["create"],
		"create beside":                 operations["create beside"],
		"create in a file of its own":   operations["create in a file of its own"],
		"create in a file elsewhere":    operations["create in a file elsewhere"],
		"create in memory":              operations["create in memory"],
		"create on copies":              operations["create on copies"],
		"remove with a file":            {prepare: func(t *testing.T, h *host) { h.elsewhere(t); check(t, h.createIn("file:/srv/.cow")) }, do: remove},
		"remove with a file of its own": {prepare: func(t *testing.T, h *host) { check(t, h.createIn("file:/home/.cow")) }, do: remove},
		"remove":                        {prepare: func(t *testing.T, h *host) { h.create(t, both()) }, do: remove},
		"remove from copies":            {prepare: func(t *testing.T, h *host) { h.create(t, both()) }, do: remove, on: newCopiesHost},
		"create on a group":             operations["create on a group"],
		"remove from a group":           {prepare: func(t *testing.T, h *host) { h.create(t, both()) }, do: remove, on: newGroupHost},
		"create on a partition":         operations["create on a partition"],
		"remove on a partition":         {prepare: func(t *testing.T, h *host) { check(t, h.createOnData()) }, do: remove},
		"attach":                        operations["attach"],
		"detach": {
			prepare: func(t *testing.T, h *host) { check(t, operations["attach"].do(h)) },
			do:      func(h *host) error { return h.m.Detach(context.Background(), h.plain) },
		},
		"attach with a layer":  operations["attach with a layer"],
		"create above a layer": operations["create above a layer"],
		"detach from a layer": {
			prepare: func(t *testing.T, h *host) { check(t, h.attachLayer(eraLayer)) },
			do:      func(h *host) error { return h.m.Detach(context.Background(), h.plain) },
		},
		"adopt": operations["adopt"],
		"give an adopted device back": {
			prepare: func(t *testing.T, h *host) { check(t, operations["adopt"].do(h)) },
			do:      func(h *host) error { return h.m.Detach(context.Background(), h.plain) },
			on:      newBareHost,
		},
		"remove beside": {prepare: func(t *testing.T, h *host) {
			operations["create beside"].prepare(t, h)
			check(t, operations["create beside"].do(h))
		}, do: remove},
	}
}

// TestKilledAnywhere ends the process before its system calls, without any guard. Afterwards recover leads to the state before, or to the state after
// if the record was written.
func TestKilledAnywhere(t *testing.T) {
	hostOnly(t)
	everyKill(t, (step()+2)/3, func(t *testing.T, h *host, _ string) { recovered(t, h) })
}

// TestThawAfterAnyKill lets go what the dead process held, and changes nothing
// else; then recover ends as ever.
func TestThawAfterAnyKill(t *testing.T) {
	hostOnly(t)
	everyKill(t, step(), func(t *testing.T, h *host, what string) {
		files := fileLines(h.Snapshot())
		done, err := New(h.m.opts).Thaw(context.Background(), false)
		if err != nil || len(done.Left) > 0 {
			t.Errorf("%s: thaw: %+v, %v", what, done, err)
		}
		letGo(t, h, what)
		if after := fileLines(h.Snapshot()); after != files {
			t.Errorf("%s: thaw changed files\n%s", what, diff(strings.Split(files, "\n"), strings.Split(after, "\n")))
		}
		recovered(t, h)
	})
}

// TestStateLost: the state directory goes with the process. Tables and uuids are
// enough to let go and to take everything down.
func TestStateLost(t *testing.T) {
	hostOnly(t)
	everyKill(t, step(), func(t *testing.T, h *host, what string) {
		for _, dir := range []string{"journal", "sets", "attached", "lock"} {
			h.each(t, dir, func(file string) error { return h.Border().Unlink(file) })
			check(t, h.Border().Rmdir("/state/"+dir))
		}
		m := New(h.m.opts)
		_, err := m.Thaw(context.Background(), true)
		check(t, err)
		letGo(t, h, what)
		sets, err := m.List(context.Background())
		check(t, err)
		for _, set := range sets {
			if set.Name != "first" && set.State != StateActive || set.Name == "nightly" {
				check(t, m.Remove(context.Background(), RemoveRequest{Name: set.Name}))
			}
		}
		recovered(t, h)
	})
}

// TestJournalDamaged: entries torn, truncated, of a newer version or not even
// readable. Recover works from the tables.
func TestJournalDamaged(t *testing.T) {
	hostOnly(t)
	for name, text := range map[string]string{"empty": "", "torn": `{"schema_version": 1, "op": "cre`, "newer": `{"schema_version": 9}`} {
		t.Run(name, func(t *testing.T) {
			everyKill(t, step(), func(t *testing.T, h *host, _ string) {
				h.each(t, "journal", func(file string) error { h.WriteFile(file, text); return nil })
				recovered(t, h)
			})
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		everyKill(t, step(), func(t *testing.T, h *host, _ string) {
			h.Fail(func(c ioctltest.Call) error {
				if c.Op == "read" && strings.HasPrefix(c.Path, "/state/journal/") {
					return unix.EIO
				}
				return nil
			})
			defer h.Fail(nil)
			recovered(t, h)
		})
	})
}

// each calls do for every file of a part of the state directory.
func (h *host) each(t *testing.T, dir string, do func(file string) error) {
	t.Helper()
	names, err := h.Border().ReadDir("/state/" + dir)
	check(t, err)
	for _, name := range names {
		check(t, do("/state/"+dir+"/"+name))
	}
}

func recovered(t *testing.T, h *host) {
	t.Helper()
	_, err := New(h.m.opts).Recover(context.Background())
	check(t, err)
}

// letGo expects that nobody is held. An image that never went live is suspended,
// and so is a base that was handed over and on which no front stands.
func letGo(t *testing.T, h *host, what string) {
	t.Helper()
	state := h.Snapshot()
	for l := range strings.Lines(state) {
		name, _, _ := strings.Cut(strings.TrimPrefix(l, "dm "), " ")
		suspended := strings.HasPrefix(l, "dm ") && strings.Contains(l, " suspended") && strings.Contains(state, "dm "+name+" live ")
		if f := strings.Fields(l); suspended && strings.HasPrefix(name, plan.BaseName("")) {
			suspended = strings.Contains(state, " snapshot-origin "+f[2]+"\n")
		}
		frozen := strings.HasPrefix(l, "fs ") && !strings.HasSuffix(l, "frozen=0\n")
		if suspended || frozen {
			t.Errorf("%s: still held: %s", what, l)
		}
	}
}

func fileLines(state string) string {
	var b strings.Builder
	for l := range strings.Lines(state) {
		if strings.HasPrefix(l, "file ") {
			b.WriteString(l)
		}
	}
	return b.String()
}

// everyKill kills each operation where it leaves something behind, at every step-th of
// those places, repairs the host, and expects the state before or after.
func everyKill(t *testing.T, step int, repair func(t *testing.T, h *host, what string)) {
	t.Helper()
	for name, op := range killable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, udev := range []bool{true, false} {
				if udev && step > 1 && !lab.Full() {
					continue // a part is enough, here too
				}
				o := ioctltest.Options{Udev: udev}
				for i, n := range places(t, op, o) {
					if i%step == len(name)%step && (!killOnce(t, o, op, n, repair) || t.Failed()) {
						break
					}
				}
			}
		})
	}
}

// places are the calls before which a death leaves something new behind: every call
// at full length, else those right after one that changed something.
func places(t *testing.T, op operation, o ioctltest.Options) (at []int) {
	t.Helper()
	h := op.host(t, o)
	first := h.Calls()
	check(t, op.do(h))
	changed := true
	for i, c := range h.Log()[first:] {
		if changed || lab.Full() {
			at = append(at, i+1)
		}
		changed = !looks(c)
	}
	return at
}

// looks tells whether a call leaves nothing behind when its process dies after it. One
// that opens a file of the state may make it.
func looks(c ioctltest.Call) bool {
	switch c.Op {
	case "open":
		return !strings.HasPrefix(c.Path, "/state/")
	case "read", "pread", "close", "readdir", "readlink", "stat", "lstat", "fstat", "statfs", "poll", "time", "uname", "flock", "semgetval":
		return true
	}
	switch c.Request {
	case "DM_VERSION", "DM_LIST_DEVICES", "DM_LIST_VERSIONS", "DM_GET_TARGET_VERSION", "DM_DEV_STATUS", "DM_TABLE_STATUS", "DM_TABLE_DEPS":
		return true
	}
	return false
}

func killOnce(t *testing.T, o ioctltest.Options, op operation, n int, repair func(*testing.T, *host, string)) (more bool) {
	t.Helper()
	h := op.host(t, o)
	before := withoutLocks(h.Snapshot())
	at, err := h.die(n, op.do)
	if at == nil {
		check(t, err)
		return false
	}
	what := fmt.Sprintf("killed before %s", at)
	h.Exit()
	defer func() {
		if t.Failed() {
			t.Log(what)
		}
	}()
	repair(t, h, what)
	h.healthy(t)
	if withoutLocks(h.Snapshot()) == before {
		return true
	}
	// Not before, so it must be after: complete, and removable without a trace.
	h.after(t, what, New(h.m.opts), op)
	return true
}

// after expects that an operation came through: the next one finds a set to
// remove or none, and then nothing is left.
func (h *host) after(t *testing.T, what string, next *Manager, op operation) {
	t.Helper()
	set, err := next.Show(context.Background(), "nightly")
	if err == nil && set.State != StateActive {
		t.Errorf("%s: the set is %s: %s", what, set.State, set.Volumes[0].Reason)
	}
	if err == nil {
		check(t, next.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	} else if !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: %v", what, err)
	}
	if err := next.Detach(context.Background(), h.plain); err != nil && !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: %v", what, err)
	}
	fresh := op.host(t, ioctltest.Options{})
	if err := fresh.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}); err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if err := fresh.m.Detach(context.Background(), fresh.plain); err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if left := dmLines(h.Snapshot()); left != dmLines(fresh.Snapshot()) {
		t.Errorf("%s: left over\n%swant\n%s", what, left, dmLines(fresh.Snapshot()))
	}
}

func TestLockedOriginNamesItsOwner(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	locks, err := h.m.state.Lock(4711, journal.OriginKey(h.home.String()))
	check(t, err)
	released := make(chan struct{})
	before := h.Snapshot()
	_, err = h.m.Create(context.Background(), both())
	owner, ok := errors.AsType[*journal.LockedError](err)
	if !errors.Is(err, ErrLocked) || !ok || owner.PID != 4711 {
		t.Errorf("got %v", err)
	}
	same(t, "while locked", before, h.Snapshot())
	o := h.m.opts
	o.Wait = time.Minute
	go func() { // held, then let go, while the other waits
		defer close(released)
		waiting := func(c ioctltest.Call) bool { return c.Op == "flock" }
		first := len(h.Log())
		for !slices.ContainsFunc(h.Log()[first:], waiting) {
			runtime.Gosched()
		}
		check(t, locks.Unlock())
	}()
	_, err = New(o).Create(context.Background(), both())
	check(t, err)
	<-released
}
