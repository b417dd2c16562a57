package dm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestCancelledCreateIsAsBefore ends the context before each system call of a
// create in turn: either the set is made as if nothing had happened, or the host
// is as it was.
func TestCancelledCreateIsAsBefore(t *testing.T) {
	hostOnly(t)
	for _, o := range []ioctltest.Options{{Release: "6.1.0", Udev: true}, {Release: "6.12.0"}} {
		cancelled := 0
		for n := 1; ; n += step() {
			h := newHost(t, o)
			before, first, past := withoutLocks(h.Snapshot()), h.Calls(), true
			ctx, cancel := context.WithCancel(context.Background())
			h.Fail(func(c ioctltest.Call) error {
				if c.N-first == n {
					past = false
					cancel()
				}
				return nil
			})
			_, err := h.m.Create(ctx, both())
			h.Fail(nil)
			cancel()
			h.healthy(t)
			switch {
			case err == nil:
				check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
			case !errors.Is(err, context.Canceled) || CodeOf(err) != CodeFailed:
				t.Fatalf("cancelled at call %d: %v", n, err)
			case strings.Contains(err.Error(), "context") || !strings.Contains(err.Error(), "interrupted"):
				t.Fatalf("cancelled at call %d: %v", n, err)
			default:
				cancelled++
			}
			same(t, "cancelled", before, withoutLocks(h.Snapshot()))
			if past || t.Failed() {
				break
			}
		}
		if cancelled == 0 {
			t.Error("no create was cancelled")
		}
	}
}

// TestEvents: every step outside the window is told, the window once, and what
// is taken back too.
func TestEvents(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	var events []Event
	h.m.opts.Events = func(e Event) { events = append(events, e) }
	p, err := h.m.PlanCreate(context.Background(), both())
	check(t, err)
	h.create(t, both())
	var want, got []string
	for _, s := range p.Steps {
		if s.Phase == "window" && slices.Contains(want, "window ") {
			continue
		}
		if s.Phase == "window" {
			s.Action, s.Device = "", ""
		}
		want = append(want, string(s.Phase)+" "+s.Action)
	}
	for _, e := range events {
		action, _, _ := strings.Cut(e.Step.Name, " ")
		got = append(got, string(e.Step.Phase)+" "+action)
		if e.Kind != EventStep || e.Step.Op != "create" || e.Set != "nightly" || e.Step.Total != len(p.Steps) || e.Step.Done >= e.Step.Total || e.Time.IsZero() {
			t.Errorf("%+v of %d steps", e, len(p.Steps))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told of\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	events = nil
	ctx, cancel := context.WithCancel(context.Background())
	h.m.opts.Events = func(e Event) {
		events = append(events, e)
		if len(events) == 5 {
			cancel()
		}
	}
	if _, err := h.m.Create(ctx, both()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled by its own events: %v", err)
	}
	if last := events[len(events)-1]; len(events) < 6 || last.Step.Phase != PhaseUndo || last.Step.Name == "" {
		t.Errorf("after a cancelled create the last event is %+v", last)
	}
}
