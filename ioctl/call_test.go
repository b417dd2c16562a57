package ioctl

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCallRearms: the kernel fills the header in, which would break the next
// lookup, so each run must send the same bytes.
func TestCallRearms(t *testing.T) {
	var sent [][]byte
	c := control(func(_ uint32, b []byte) (int, error) {
		sent = append(sent, slices.Clone(b))
		answer(b, header{name: "vg-home", uuid: "U", dev: DevNo{Major: 254, Minor: 3}.Huge(), flags: flagSuspend | flagActivePresent, eventNr: 9}, nil)
		return 0, nil
	})
	call, err := c.PrepareSuspend(ID{Name: "vg-home"}, SkipLockFS)
	wantErr(t, err)
	if call.Info() != (Info{}) {
		t.Error("a reply before the first run")
	}
	for range 3 {
		wantErr(t, call.Do())
	}
	if !slices.Equal(sent[0], sent[1]) || !slices.Equal(sent[0], sent[2]) {
		t.Errorf("first:\n%slast:\n%s", dump(sent[0]), dump(sent[2]))
	}
	if got := call.Info(); got.Dev != (DevNo{Major: 254, Minor: 3}) || !got.Suspended || got.EventNr != 9 {
		t.Errorf("reply %+v", got)
	}
	if got := call.State(); got != (State{Suspended: true, Live: true}) {
		t.Errorf("state %+v", got)
	}
	if call.String() != "suspend vg-home" {
		t.Error(call.String())
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	fail := error(nil)
	s := &stub{
		ioctl:    func(_ int, _ uint32, b []byte) (int, error) { return 0, fail },
		ioctlInt: func(int, uint32, uintptr) (int, error) { return 0, fail },
	}
	c, f := &Control{k: New(s), fd: 7}, file(s)
	id := ID{Name: "vg-home"}
	calls := []*Call{f.PrepareFreeze(), f.PrepareThaw()}
	for _, prepare := range []func() (*Call, error){
		func() (*Call, error) { return c.PrepareSuspend(id, SkipLockFS|NoFlush) },
		func() (*Call, error) { return c.PrepareResume(id, SkipLockFS, FlagsOnly(LowPriority)) },
		func() (*Call, error) { return c.PrepareRemove(id, 0, Event{}) },
		func() (*Call, error) { return c.PrepareClear(id) },
		func() (*Call, error) { return c.PrepareStatus(id) },
		func() (*Call, error) { return c.PrepareDeps(id) },
		func() (*Call, error) { return c.PrepareTable(id, QueryInactive, 0) },
		func() (*Call, error) { return c.PrepareLoad(id, ReadOnly, exampleSpecs()) },
	} {
		call, err := prepare()
		wantErr(t, err)
		calls = append(calls, call)
	}
	for _, errno := range []error{nil, unix.EBUSY} {
		fail = errno
		for _, call := range calls {
			var err error
			if n := testing.AllocsPerRun(100, func() { err = call.Do(); call.State() }); n != 0 {
				t.Errorf("%v, %v: %v allocations", call, errno, n)
			}
			if errno == nil {
				wantErr(t, err)
			} else {
				wantErr(t, err, errno)
			}
		}
	}
}

// TestPreparedDeps has room for the reply, and none to show after a failure.
func TestPreparedDeps(t *testing.T) {
	want := []DevNo{{Major: 254, Minor: 3}, {Major: 8, Minor: 16}}
	payload := make([]byte, 8)
	native.PutUint32(payload, uint32(len(want)))
	for _, d := range want {
		payload = native.AppendUint64(payload, d.Huge())
	}
	results := []error{nil, unix.ENXIO}
	c := control(func(_ uint32, b []byte) (int, error) {
		err := results[0]
		results = results[1:]
		answer(b, header{name: "reply"}, payload)
		return 0, err
	})
	call, err := c.PrepareDeps(ID{Name: "vg-home"})
	wantErr(t, err)
	if call.Deps() != nil {
		t.Error("a reply before the first run")
	}
	wantErr(t, call.Do())
	if got := call.Deps(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	wantErr(t, call.Do(), unix.ENXIO)
	if got := call.Deps(); got != nil {
		t.Errorf("after a failure: %v", got)
	}
}

func TestCallFails(t *testing.T) {
	results := []error{unix.ENXIO, unix.EINTR, nil}
	c := control(func(_ uint32, b []byte) (int, error) {
		err := results[0]
		results = results[1:]
		answer(b, header{name: "reply"}, nil)
		return 0, err
	})
	call, err := c.PrepareResume(ID{Name: "vg-home"}, 0, Event{})
	wantErr(t, err)
	err = call.Do()
	wantErr(t, err, unix.ENXIO, ErrNotFound)
	if call.Info() != (Info{}) || call.State() != (State{}) {
		t.Error("a failed call has a reply")
	}
	err = call.Do()
	wantErr(t, err, unix.EINTR)
	if err.Error() != "resume vg-home: interrupted system call" {
		t.Error(err)
	}
	wantErr(t, call.Do())
	if call.Info().Name != "reply" {
		t.Error("no reply")
	}
}

func TestPreparedStatusIsRestarted(t *testing.T) {
	n := 0
	c := control(func(uint32, []byte) (int, error) {
		if n++; n < 3 {
			return -1, unix.EINTR
		}
		return 0, nil
	})
	call, err := c.PrepareStatus(ID{Name: "x"})
	wantErr(t, err)
	wantErr(t, call.Do())
}

// TestPreparedLoad: a prepared call sends what the verb sends.
func TestPreparedLoad(t *testing.T) {
	var sent [][]byte
	c := control(func(_ uint32, b []byte) (int, error) {
		sent = append(sent, slices.Clone(b))
		return 0, nil
	})
	id := ID{UUID: "U"}
	call, err := c.PrepareLoad(id, ReadOnly, exampleSpecs())
	wantErr(t, err)
	wantErr(t, call.Do())
	wantErr(t, c.Load(id, ReadOnly, exampleSpecs()))
	if !slices.Equal(sent[0], sent[1]) {
		t.Error(diff(dump(sent[1]), dump(sent[0])))
	}
}

func TestFreezeAndThaw(t *testing.T) {
	var requests []uint32
	f := file(&stub{ioctlInt: func(fd int, request uint32, arg uintptr) (int, error) {
		if fd != 5 || arg != 0 {
			t.Errorf("descriptor %d, argument %d", fd, arg)
		}
		requests = append(requests, request)
		return 0, nil
	}})
	freeze, thaw := f.PrepareFreeze(), f.PrepareThaw()
	wantErr(t, freeze.Do())
	wantErr(t, thaw.Do())
	wantErr(t, f.Freeze())
	wantErr(t, f.Thaw())
	if !slices.Equal(requests, []uint32{0xc0045877, 0xc0045878, 0xc0045877, 0xc0045878}) {
		t.Errorf("requests %#x", requests)
	}
	if freeze.String() != "freeze /dev/x" || freeze.Info() != (Info{}) {
		t.Error(freeze, freeze.Info())
	}
}
