package dm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestFailpoints fails the steps of a create and of a remove in turn on a real
// kernel; every third of them in a normal run. A failed create has changed nothing; a failed remove has changed
// nothing either, or the same call again finishes it.
func TestFailpoints(t *testing.T) {
	v := newGuarded(t)
	state := t.TempDir()
	nodes := string(output(t, "ls", "/dev/mapper"))
	further := 3
	if lab.Full() {
		further = 1
	}
	for n := 1; v.failCreate(t, state, n); n += further {
		if after := string(output(t, "dmsetup", "table")); after != v.before {
			t.Fatalf("create, step %d: tables before:\n%safter:\n%s", n, v.before, after)
		}
		if after := string(output(t, "ls", "/dev/mapper")); after != nodes {
			t.Fatalf("create, step %d: nodes before:\n%safter:\n%s", n, nodes, after)
		}
		v.writable(t)
	}
	whole := string(output(t, "dmsetup", "table"))
	for n := 1; v.failRemove(t, state, n, whole); n += further {
		v.writable(t)
	}
	if after := string(output(t, "dmsetup", "table")); after != v.before {
		t.Errorf("tables before:\n%safter:\n%s", v.before, after)
	}
}

// failAt makes one step fail, the n-th of all phases.
func failAt(n int, hit *string) func(plan.Step) error {
	return func(s plan.Step) error {
		if n--; n != 0 {
			return nil
		}
		*hit = s.String()
		return unix.EIO
	}
}

func (v guarded) failCreate(t *testing.T, state string, n int) (more bool) {
	t.Helper()
	m := New(Options{StateDir: state, Guard: []string{"/proc/self/exe", "guard"}})
	var hit string
	m.fail = failAt(n, &hit)
	_, err := m.Create(context.Background(), CreateRequest{Name: "fp", Origins: []string{v.dir}, Stores: map[string]string{"": v.store}})
	if hit == "" {
		check(t, err)
		return false
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, unix.EIO) || e.Step != hit || !strings.Contains(err.Error(), hit) {
		t.Errorf("step %q failed, and the error is %v", hit, err)
	}
	return true
}

func (v guarded) failRemove(t *testing.T, state string, n int, whole string) (more bool) {
	t.Helper()
	m := New(Options{StateDir: state, NoGuard: true})
	var hit string
	m.fail = failAt(n, &hit)
	err := m.Remove(context.Background(), RemoveRequest{Name: "fp"})
	m.fail = nil
	switch {
	case hit == "":
		check(t, err)
		return false
	case err == nil:
		t.Errorf("step %q failed, and nobody said so", hit)
	case errors.Is(err, ErrPartial):
		check(t, m.Remove(context.Background(), RemoveRequest{Name: "fp"}))
		output(t, "wipefs", "-aq", v.store) // where it was the wipe that failed, old chunks are still there
		check(t, v.again(m))
	default:
		if after := string(output(t, "dmsetup", "table")); after != whole {
			t.Errorf("remove, step %q: tables before:\n%safter:\n%s", hit, whole, after)
		}
	}
	return true
}

// again cuts the set anew for the next round.
func (v guarded) again(m *Manager) error {
	_, err := m.Create(context.Background(), CreateRequest{Name: "fp", Origins: []string{v.dir}, Stores: map[string]string{"": v.store}})
	if err != nil {
		return fmt.Errorf("again: %w", err)
	}
	return nil
}
