package freeze

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func TestErrorText(t *testing.T) {
	e := &Error{Op: "freeze", Mountpoint: "/srv", DevNo: ioctl.DevNo{Major: 254, Minor: 3}, Kind: ErrFrozenByOther}
	if got, want := e.Error(), "freeze /srv (254:3): already frozen by another program"; got != want {
		t.Errorf("got %q", got)
	}
	if !errors.Is(e, ErrFrozenByOther) || errors.Is(e, ErrStale) {
		t.Error("kind not found")
	}
	e.Cause = unix.EBUSY
	if got, want := e.Error(), "freeze /srv (254:3): already frozen by another program"; got != want {
		t.Errorf("got %q", got)
	}
	if !errors.Is(e, ErrFrozenByOther) || !errors.Is(e, unix.EBUSY) {
		t.Error("kind or cause not found")
	}
}

func TestProblemText(t *testing.T) {
	for want, p := range map[string]Problem{
		`cannot parse line of mountinfo: "x y"`:                             {Kind: OddLine, Text: "x y"},
		"cannot read the mounts of process 7: permission denied":            {Kind: Unreadable, PID: 7, Err: unix.EACCES},
		"mount namespace mnt:[5] has no process, so its mounts are unknown": {Kind: Unseen, Namespace: "mnt:[5]", Text: "/run/ns"},
		"the devices of the filesystem at /pool not known":                  {Kind: Unresolved, Text: "/pool"},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMethodText(t *testing.T) {
	for m, want := range map[Method]string{Freeze: "freeze", LockFS: "lockfs", None: "none"} {
		if got := m.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
