package guard

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

const expedited = "/sys/kernel/rcu_expedited"

func setting(t *testing.T, k *ioctltest.Kernel) string {
	t.Helper()
	b, err := k.Border().ReadFile(expedited)
	ok(t, err)
	return strings.TrimSpace(string(b))
}

// untouched: the switch is what it was, and nothing tells of it.
func untouched(t *testing.T, k *ioctltest.Kernel) {
	t.Helper()
	if strings.Contains(k.Snapshot(), "rcu_expedited") {
		t.Errorf("left over:\n%s", k.Snapshot())
	}
}

// abandoned leaves the switch as a window does whose processes were both killed: on,
// the lock gone.
func abandoned(t *testing.T, k *ioctltest.Kernel) {
	t.Helper()
	e, err := OpenExpedite(k.Border())
	ok(t, err)
	ok(t, e.On())
	ok(t, e.file.Close())
	if setting(t, k) != "1" {
		t.Fatal("the switch is not on")
	}
}

// TestExpediteAfterDeath: the next window after one that died with the switch on does
// not take that for an administrator's setting.
func TestExpediteAfterDeath(t *testing.T) {
	k := ioctltest.New(ioctltest.Options{})
	abandoned(t, k)
	e, err := OpenExpedite(k.Border())
	ok(t, err)
	ok(t, errors.Join(e.On(), e.Off(), e.Close()))
	untouched(t, k)
}

// TestEndExpedite puts back what a dead window left, and nothing else.
func TestEndExpedite(t *testing.T) {
	k := ioctltest.New(ioctltest.Options{})
	abandoned(t, k)
	for _, want := range []string{"0", ""} {
		if got, err := EndExpedite(k.Border()); err != nil || got != want || setting(t, k) != "0" {
			t.Errorf("restored %q, %v, want %q; now %s", got, err, want, setting(t, k))
		}
	}
	untouched(t, k)

	ok(t, k.Border().WriteFile(expedited, []byte("1"), 0)) // an administrator's
	e, err := OpenExpedite(k.Border())
	ok(t, err)
	ok(t, errors.Join(e.On(), e.Off(), e.Close()))
	if got, err := EndExpedite(k.Border()); err != nil || got != "" || setting(t, k) != "1" {
		t.Errorf("an administrator's setting: %q, %v; now %s", got, err, setting(t, k))
	}
}

// TestEndExpediteUnderWay: a window that lives keeps its switch.
func TestEndExpediteUnderWay(t *testing.T) {
	k := ioctltest.New(ioctltest.Options{})
	e, err := OpenExpedite(k.Border())
	ok(t, err)
	ok(t, e.On())
	if got, err := EndExpedite(k.Border()); err != nil || got != "" || setting(t, k) != "1" {
		t.Errorf("%q, %v; now %s", got, err, setting(t, k))
	}
	if second, err := OpenExpedite(k.Border()); err != nil || second != nil {
		t.Errorf("a second window got the switch: %v, %v", second, err)
	}
	ok(t, errors.Join(e.Off(), e.Close()))
}

// TestExpediteEverywhere: the process dies before each call, of the first window or of
// one that comes after a death. Whatever is left, the switch is off in the end.
func TestExpediteEverywhere(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; diesAt(t, n, after); n++ {
		}
	}
}

func diesAt(t *testing.T, n int, after bool) (died bool) {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{})
	if after {
		abandoned(t, k)
	}
	at := 0
	k.Fail(func(ioctltest.Call) error {
		if at++; at >= n {
			died = true
			return unix.EIO
		}
		return nil
	})
	if e, _ := OpenExpedite(k.Border()); e != nil {
		_ = errors.Join(e.On(), e.Off(), e.Close())
	}
	k.Fail(nil)
	k.Exit()
	if _, err := EndExpedite(k.Border()); err != nil || setting(t, k) != "0" {
		t.Errorf("after a death %v, died at call %d: %v, the switch is %s", after, n, err, setting(t, k))
	}
	return died
}
