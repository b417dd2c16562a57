package dm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// sentinels are all codes and what errors.Is finds for each.
var sentinels = map[Code]error{
	CodeFailed: ErrFailed, CodeUsage: ErrUsage, CodeLocked: ErrLocked, CodeNotFound: ErrNotFound, CodeBusy: ErrBusy,
	CodeNoSpace: ErrNoSpace, CodeUnsupported: ErrUnsupported, CodeFreeze: ErrFreeze, CodeDegraded: ErrDegraded,
	CodePartial: ErrPartial, CodeUnrecovered: ErrUnrecovered,
}

// TestErrorIs: an error is its code's sentinel, no other's, and all that is in
// its cause.
func TestErrorIs(t *testing.T) {
	for code := range sentinels {
		cause := &ioctl.Error{Op: "suspend", Name: "vg-home", Err: unix.EIO}
		err := fmt.Errorf("outside: %w", errors.Join(&Error{Op: "create", Set: "s", Code: code, Err: fmt.Errorf("inside: %w", cause)}, unix.ENOSPC))
		for other, sentinel := range sentinels {
			if errors.Is(err, sentinel) != (other == code) {
				t.Errorf("%s is %v: %v", code, sentinel, other != code)
			}
		}
		if !errors.Is(err, unix.EIO) || errors.Is(err, unix.EBUSY) {
			t.Errorf("%s loses its errno", code)
		}
		if e, ok := errors.AsType[*ioctl.Error](err); !ok || e != cause {
			t.Errorf("%s loses its cause", code)
		}
		if got := CodeOf(err); got != code {
			t.Errorf("code of %s is %s", code, got)
		}
	}
}

// TestCodeOf: the outermost error counts; what is not ours has failed.
func TestCodeOf(t *testing.T) {
	inner := &Error{Op: "a", Code: CodeBusy, Err: unix.EBUSY}
	for _, row := range []struct {
		err  error
		want Code
	}{
		{inner, CodeBusy},
		{&Error{Op: "b", Code: CodePartial, Err: inner}, CodePartial},
		{errors.Join(errors.New("x"), inner), CodeBusy},
		{fmt.Errorf("x: %w", &Error{Op: "c", Code: CodeUsage, Err: errors.New("y")}), CodeUsage},
		{errors.New("x"), CodeFailed},
		{unix.EBUSY, CodeFailed},
		{nil, CodeFailed},
	} {
		if got := CodeOf(row.err); got != row.want {
			t.Errorf("%v: %s, not %s", row.err, got, row.want)
		}
	}
	for code, sentinel := range sentinels {
		if got := CodeOf(fmt.Errorf("x: %w", sentinel)); got != code {
			t.Errorf("code of %v is %s", sentinel, got)
		}
	}
}

// TestErrorText is one line, without the hint.
func TestErrorText(t *testing.T) {
	for want, err := range map[string]*Error{
		"create nightly: no room":     {Op: "create", Set: "nightly", Err: errors.New("no room"), Hint: "buy a disk"},
		"doctor: no room":             {Op: "doctor", Err: errors.New("no room"), Device: "/dev/x", Step: "load x"},
		"remove nightly: one; two; 3": {Op: "remove", Set: "nightly", Err: errors.Join(errors.New("one"), errors.Join(errors.New("two"), errors.New("3")))},
	} {
		if got := err.Error(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestBusyError(t *testing.T) {
	holders := []Holder{
		{Kind: "mount", Device: "/dev/mapper/x", Path: "/mnt"},
		{Kind: "mount", Device: "/dev/mapper/x", Path: "/data", Namespace: "mnt:[7]", PID: 42, Command: "db"},
		{Kind: "process", Device: "/dev/mapper/x", PID: 43, Command: "dd"},
		{Kind: "device", Device: "/dev/mapper/x", Path: "vg-y"},
	}
	want := "x is mounted on /mnt, mounted on /data in mount namespace mnt:[7] (pid 42, db), open in pid 43 (dd), in use by device vg-y"
	b := &BusyError{Device: "x", Holders: holders}
	if got := b.Error(); got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got := (&BusyError{Device: "x"}).Error(); got != "x is busy" {
		t.Error(got)
	}
	err := error(&Error{Op: "remove", Set: "s", Code: CodeBusy, Err: fmt.Errorf("%w (%w)", b, unix.EBUSY)})
	found, ok := errors.AsType[*BusyError](err)
	if !ok || len(found.Holders) != 4 || !errors.Is(err, ErrBusy) || !errors.Is(err, unix.EBUSY) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}
