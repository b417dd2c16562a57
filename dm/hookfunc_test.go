package dm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"golang.org/x/sys/unix"
)

// quiet is a Hook that notes its calls, and fails one of them.
func quiet(name string, calls *[]string, fails HookEvent) Hook {
	note := func(event HookEvent, set HookSet) error {
		*calls = append(*calls, name+" "+string(event))
		if set.Name != "nightly" || len(set.Volumes) != 2 || set.Volumes[0].Mountpoints[0] != "/home" {
			return fmt.Errorf("got %+v", set)
		}
		if event == fails {
			return errors.New("the database is gone")
		}
		return nil
	}
	return Hook{
		Name:      name,
		PreFreeze: func(_ context.Context, set HookSet) error { return note(HookPreFreeze, set) },
		End:       func(_ context.Context, event HookEvent, set HookSet) error { return note(event, set) },
	}
}

// TestHookFuncs: functions are called around the window beside the programs, and the
// last to quiesce is the first to go on.
func TestHookFuncs(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	d := newHookDir(t, map[string]string{"10a": ""})
	r := d.on(t, h)
	var calls []string
	r.Hooks = []Hook{quiet("db", &calls, ""), quiet("cache", &calls, "")}
	p, err := h.m.PlanCreate(h.ctx, r)
	check(t, err)
	if len(calls) > 0 || !slices.ContainsFunc(p.Steps, func(s PlanStep) bool { return s.Detail == "db pre-freeze" }) {
		t.Errorf("a plan called %v: %+v", calls, p.Steps)
	}
	set := h.create(t, r)
	if want := []string{"db pre-freeze", "cache pre-freeze", "cache post-thaw", "db post-thaw"}; !slices.Equal(calls, want) {
		t.Errorf("called %v, want %v", calls, want)
	}
	var receipts []string
	for _, r := range set.Receipt.Hooks {
		receipts = append(receipts, fmt.Sprintf("%s %s%s", r.Hook[strings.LastIndex(r.Hook, "/")+1:], r.Event, r.Error))
	}
	want := []string{"10a pre-freeze", "db pre-freeze", "cache pre-freeze", "cache post-thaw", "db post-thaw", "10a post-thaw"}
	if set.Receipt.Consistency != Application || !slices.Equal(receipts, want) {
		t.Errorf("%s, %v", set.Receipt.Consistency, receipts)
	}
}

// TestHookFuncFails: the failure of a function ends the create as that of a program
// does, unless less was asked for; every function that was called is released.
func TestHookFuncFails(t *testing.T) {
	for _, asked := range []Consistency{"", Application, Filesystem} {
		h := newHost(t, ioctltest.Options{})
		var calls []string
		r := both()
		r.Consistency = asked
		r.Hooks = []Hook{quiet("db", &calls, ""), quiet("cache", &calls, HookPreFreeze)}
		before := withoutLocks(h.Snapshot())
		set, err := h.m.Create(h.ctx, r)
		want := []string{"db pre-freeze", "cache pre-freeze", "cache abort", "db abort"}
		if asked == Filesystem {
			check(t, err)
			want[3] = "db post-thaw"
			if set.Receipt.Consistency != Filesystem {
				t.Errorf("receipt says %s", set.Receipt.Consistency)
			}
		} else {
			if CodeOf(err) != CodeFreeze || !strings.Contains(err.Error(), "cache pre-freeze: the database is gone") {
				t.Errorf("%q: %v", asked, err)
			}
			same(t, "a failed function", before, withoutLocks(h.Snapshot()))
		}
		if !slices.Equal(calls, want) {
			t.Errorf("%q: called %v, want %v", asked, calls, want)
		}
	}
}

// TestHookFuncIsReleased whatever call of the create fails.
func TestHookFuncIsReleased(t *testing.T) {
	for n := 1; ; n += 3 {
		h := newHost(t, ioctltest.Options{})
		var calls []string
		r := both()
		r.Hooks = []Hook{quiet("db", &calls, "")}
		first := h.Calls()
		h.Fail(func(c ioctltest.Call) error {
			if c.N == first+n {
				return unix.EIO
			}
			return nil
		})
		_, err := h.m.Create(h.ctx, r)
		past := h.Calls() < first+n
		h.Fail(nil)
		if len(calls) != 0 && len(calls) != 2 || len(calls) == 2 && err == nil && calls[1] != "db post-thaw" {
			t.Fatalf("call %d: %v, called %v", n, err, calls)
		}
		if past {
			break
		}
	}
}

// TestHookFuncHangs: neither a function that does not return nor a cancelled create
// is waited for, and End is not called beside PreFreeze.
func TestHookFuncHangs(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	stuck, ended := make(chan bool), make(chan HookEvent, 1)
	hang := Hook{
		Name:      "db",
		PreFreeze: func(context.Context, HookSet) error { <-stuck; return nil },
		End:       func(_ context.Context, event HookEvent, _ HookSet) error { ended <- event; return nil },
	}
	r := both()
	r.HookTimeout, r.Hooks = time.Millisecond, []Hook{hang}
	if _, err := h.m.Create(h.ctx, r); CodeOf(err) != CodeFreeze || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	select {
	case e := <-ended:
		t.Errorf("End was called with %s while PreFreeze ran", e)
	default:
	}
	close(stuck)
	if e := <-ended; e != HookAbort {
		t.Errorf("ended with %s", e)
	}

	ctx, cancel := context.WithCancel(h.ctx)
	hang.PreFreeze = func(ctx context.Context, _ HookSet) error { cancel(); <-ctx.Done(); return ctx.Err() }
	r.HookTimeout, r.Hooks = 0, []Hook{hang}
	if _, err := h.m.Create(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if e := <-ended; e != HookAbort {
		t.Errorf("ended with %s", e)
	}
}

func TestHookFuncsAreChecked(t *testing.T) {
	good := quiet("db", new([]string), "")
	for _, bad := range [][]Hook{{{Name: "x"}}, {good, good}, {{Name: "", PreFreeze: good.PreFreeze, End: good.End}}, {{Name: "/x", PreFreeze: good.PreFreeze, End: good.End}}} {
		r := both()
		r.Hooks = bad
		if err := r.Validate(); !errors.Is(err, ErrUsage) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	r := both()
	r.Consistency, r.Hooks = Application, []Hook{good}
	check(t, r.Validate())
}
