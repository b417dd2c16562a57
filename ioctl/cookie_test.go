package ioctl

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// script runs a cookie's life with one event and returns the semaphore's log.
func script(t *testing.T, sem *semaphore, info Info, callErr error) ([]string, error) {
	t.Helper()
	k := New(&stub{sem: sem})
	ck, err := k.NewCookie()
	wantErr(t, err)
	ev, err := ck.Event(LowPriority)
	wantErr(t, err)
	if n := ev.number(); n>>16 != uint32(LowPriority|PrimarySource) || n&0xffff != uint32(ck.low) || ck.low == 0 {
		t.Errorf("event number %#x for %v", n, ck)
	}
	if n, err := ck.Pending(); n != 1 || err != nil {
		t.Errorf("pending %d, %v", n, err)
	}
	wantErr(t, ev.Settle(info, callErr))
	err = ck.Wait(time.Second)
	if _, again := ck.Event(0); again == nil {
		t.Error("a cookie can be used after Wait")
	}
	wantErr(t, ck.Wait(time.Second))
	wantErr(t, ck.Discard())
	return sem.log, err
}

func TestCookie(t *testing.T) {
	udev := func(s *semaphore) error { s.value--; return nil }
	interrupted := 0
	for _, c := range []struct {
		name string
		sem  *semaphore
		info Info
		err  error // of the call
		log  []string
		want error
	}{
		{
			"udev answers", &semaphore{meanwhile: udev},
			Info{UeventGenerated: true},
			nil,
			[]string{"get 0d4d n=1 flags=3600", "set 1", "op +1", "op -1", "op +0", "remove"},
			nil,
		},
		{
			"no uevent", &semaphore{},
			Info{},
			nil,
			[]string{"get 0d4d n=1 flags=3600", "set 1", "op +1", "op -1", "op -1", "op +0", "remove"},
			nil,
		},
		{
			"the call fails", &semaphore{},
			Info{},
			unix.EBUSY,
			[]string{"get 0d4d n=1 flags=3600", "set 1", "op +1", "op -1", "op -1", "op +0", "remove"},
			nil,
		},
		{
			"udev is late", &semaphore{meanwhile: func(*semaphore) error { return unix.EAGAIN }},
			Info{UeventGenerated: true},
			nil,
			[]string{"get 0d4d n=1 flags=3600", "set 1", "op +1", "op -1", "op +0", "remove"},
			ErrUdevTimeout,
		},
		{
			"interrupted", &semaphore{meanwhile: func(s *semaphore) error {
				if interrupted++; interrupted < 3 {
					return unix.EINTR
				}
				return udev(s)
			}},
			Info{UeventGenerated: true},
			nil,
			[]string{"get 0d4d n=1 flags=3600", "set 1", "op +1", "op -1", "op +0", "op +0", "op +0", "remove"},
			nil,
		},
		{
			"removed by somebody", &semaphore{meanwhile: func(s *semaphore) error {
				s.removed = true
				return unix.EIDRM
			}},
			Info{UeventGenerated: true},
			nil,
			[]string{"get 0d4d n=1 flags=3600", "set 1", "op +1", "op -1", "op +0", "remove"},
			nil,
		},
		{
			"key is taken", &semaphore{getErrs: []error{unix.EEXIST, unix.EEXIST}},
			Info{},
			nil,
			[]string{
				"get 0d4d n=1 flags=3600", "get 0d4d n=1 flags=3600", "get 0d4d n=1 flags=3600",
				"set 1", "op +1", "op -1", "op -1", "op +0", "remove",
			},
			nil,
		},
		{
			"the wait fails", &semaphore{meanwhile: func(*semaphore) error { return unix.EACCES }},
			Info{UeventGenerated: true},
			nil,
			[]string{"get 0d4d n=1 flags=3600", "set 1", "op +1", "op -1", "op +0", "remove"},
			unix.EACCES,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, err := script(t, c.sem, c.info, c.err)
			if c.want == nil {
				wantErr(t, err)
			} else {
				wantErr(t, err, c.want)
			}
			if !slices.Equal(log, c.log) {
				t.Errorf("got  %q\nwant %q", log, c.log)
			}
		})
	}
}

func TestCookieCannotBeMade(t *testing.T) {
	_, err := New(&stub{sem: &semaphore{getErrs: []error{unix.ENOSPC}}}).NewCookie()
	wantErr(t, err, unix.ENOSPC)
	sem := &semaphore{getErrs: slices.Repeat([]error{unix.EEXIST}, cookieTries)}
	_, err = New(&stub{sem: sem}).NewCookie()
	wantErr(t, err, unix.EEXIST)
	sem = &semaphore{setErr: unix.EACCES}
	_, err = New(&stub{sem: sem}).NewCookie()
	wantErr(t, err, unix.EACCES)
	if !sem.removed {
		t.Error("the semaphore is left behind")
	}
}

// TestPickedCookie has a free key before it has a semaphore.
func TestPickedCookie(t *testing.T) {
	sem := &semaphore{getErrs: []error{nil, unix.EACCES, unix.ENOENT, nil}} // two keys are taken
	k := New(&stub{sem: sem})
	ck, err := k.PickCookie()
	wantErr(t, err)
	if len(sem.log) != 3 || slices.Contains(sem.log, "get 0d4d n=1 flags=3600") || ck.String() == "none" {
		t.Errorf("%s picked by %q", ck, sem.log)
	}
	wantErr(t, ck.Make())
	if got := sem.log[3:]; !slices.Equal(got, []string{"get 0d4d n=1 flags=3600", "set 1"}) {
		t.Errorf("made by %q", got)
	}
	sem.getErrs = []error{unix.EEXIST}
	wantErr(t, ck.Make(), unix.EEXIST)
	sem.getErrs = []error{unix.ENOSYS}
	_, err = k.PickCookie()
	wantErr(t, err, unix.ENOSYS)
	sem.getErrs = nil
	_, err = k.PickCookie()
	wantErr(t, err, unix.EEXIST)
}

func TestNilCookie(t *testing.T) {
	var ck *Cookie
	ev, err := ck.Event(DisableDiskRules)
	wantErr(t, err)
	if ev.number() != 0x440000 {
		t.Errorf("event number %#x", ev.number())
	}
	wantErr(t, ev.Settle(Info{}, unix.EBUSY))
	wantErr(t, ck.Wait(time.Second))
	wantErr(t, ck.Discard())
	if n, err := ck.Pending(); n != 0 || err != nil {
		t.Error(n, err)
	}
	if (Event{}).number() != 0x400000 || FlagsOnly(LowPriority).number() != 0x500000 {
		t.Error("flags-only events")
	}
}

func TestUdevFlagsString(t *testing.T) {
	for flags, want := range map[UdevFlags]string{
		0:                              "0",
		0x0e:                           "DisableSubsystemRules|DisableDiskRules|DisableOtherRules",
		PrimarySource | Subsystem0 | 1: "DisableDMRules|PrimarySource|Subsystem0",
	} {
		if flags.String() != want {
			t.Errorf("%#x: %s", uint16(flags), flags)
		}
	}
}
