package ioctl

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBufferGrows(t *testing.T) {
	want := exampleSpecs()
	var sizes []int
	c := control(func(_ uint32, b []byte) (int, error) {
		sizes = append(sizes, len(b))
		if len(b) < 100<<10 {
			answer(b, header{flags: flagBufferFull, targetCount: uint32(len(want))}, nil)
			return 0, nil
		}
		answer(b, header{targetCount: uint32(len(want))}, statusTable(want))
		return 0, nil
	})
	_, got, err := c.Table(ID{Name: "x"}, 0)
	wantErr(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if !slices.Equal(sizes, []int{16 << 10, 32 << 10, 64 << 10, 128 << 10}) {
		t.Errorf("buffers of %d bytes", sizes)
	}
}

func TestBufferCeiling(t *testing.T) {
	calls, biggest := 0, 0
	c := control(func(_ uint32, b []byte) (int, error) {
		calls, biggest = calls+1, len(b)
		answer(b, header{flags: flagBufferFull}, nil)
		return 0, nil
	})
	_, err := c.List(ID{})
	wantErr(t, err, ErrTooBig)
	if biggest != maxBuffer {
		t.Errorf("gave up after %d bytes", biggest)
	}
	calls = 0
	_, err = c.Message(ID{Name: "x"}, 0, "@stats_print 0")
	wantErr(t, err, ErrTooBig)
	if calls != 1 {
		t.Errorf("message sent %d times", calls)
	}
	err = c.Load(ID{Name: "x"}, 0, []Spec{{Length: 1, Type: "zero", Params: strings.Repeat(" ", maxBuffer)}})
	wantErr(t, err, ErrTooBig)
}

func TestSecureBufferIsWiped(t *testing.T) {
	key := []Spec{{Length: 8, Type: "crypt", Params: "aes 0123456789 0 8:0 0"}}
	var buffers [][]byte
	full := true
	c := control(func(request uint32, b []byte) (int, error) {
		buffers = append(buffers, b)
		if request == reqTableLoad {
			return 0, nil
		}
		h := header{targetCount: 1, flags: flagSecureData}
		if full {
			h.flags |= flagBufferFull
		}
		full = false
		answer(b, h, statusTable(key))
		return 0, nil
	})
	_, got, err := c.Table(ID{Name: "x"}, SecureData)
	wantErr(t, err)
	if !slices.Equal(got, key) {
		t.Errorf("got %v", got)
	}
	wantErr(t, c.Load(ID{Name: "x"}, SecureData, key))
	if len(buffers) != 3 {
		t.Fatalf("%d calls", len(buffers))
	}
	for i, b := range buffers {
		if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
			t.Errorf("call %d left its buffer:\n%s", i, dump(b))
		}
	}
}

func TestInterrupted(t *testing.T) {
	interruptions := 0
	c := control(func(request uint32, b []byte) (int, error) {
		h, err := parseHeader(b)
		if err != nil || h.dataSize != uint32(len(b)) || h.version.Major != versionSent {
			t.Errorf("request %#x is not encoded anew: %+v", request, h)
		}
		clear(b[:headerSize])
		if interruptions > 0 {
			interruptions--
			return -1, unix.EINTR
		}
		answer(b, header{}, nil)
		return 0, nil
	})
	id := ID{Name: "x"}
	for name, v := range map[string]struct {
		run   func() error
		again bool
	}{
		"Version":        {func() error { _, err := c.Version(); return err }, true},
		"List":           {func() error { _, err := c.List(ID{}); return err }, true},
		"TargetVersions": {func() error { _, err := c.TargetVersions(); return err }, true},
		"Status":         {func() error { _, err := c.Status(id); return err }, true},
		"Table":          {func() error { _, _, err := c.Table(id, 0); return err }, true},
		"TargetStatus":   {func() error { _, _, err := c.TargetStatus(id, 0); return err }, true},
		"Deps":           {func() error { _, err := c.Deps(id, 0); return err }, true},
		"Suspend":        {func() error { _, err := c.Suspend(id, 0); return err }, false},
		"Resume":         {func() error { _, err := c.Resume(id, 0, Event{}); return err }, false},
		"Wait":           {func() error { _, _, err := c.Wait(id, 0); return err }, false},
		"Load":           {func() error { return c.Load(id, 0, nil) }, false},
		"Remove":         {func() error { _, err := c.Remove(id, 0, Event{}); return err }, false},
		"Message":        {func() error { _, err := c.Message(id, 0, "x"); return err }, false},
	} {
		interruptions = 2
		err := v.run()
		if v.again && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !v.again {
			wantErr(t, err, unix.EINTR)
		}
	}
}

func TestFlagsAreRefused(t *testing.T) {
	c := control(func(uint32, []byte) (int, error) {
		t.Error("the kernel was called")
		return 0, nil
	})
	id := ID{Name: "x"}
	for name, v := range map[string]struct {
		valid Flags
		run   func(Flags) error
	}{
		"Create":         {PersistentDev, func(f Flags) error { _, err := c.Create("x", "", f, DevNo{}); return err }},
		"Load":           {ReadOnly | SecureData, func(f Flags) error { return c.Load(id, f, nil) }},
		"Suspend":        {SkipLockFS | NoFlush, func(f Flags) error { _, err := c.Suspend(id, f); return err }},
		"Resume":         {SkipLockFS | NoFlush, func(f Flags) error { _, err := c.Resume(id, f, Event{}); return err }},
		"Remove":         {DeferredRemove, func(f Flags) error { _, err := c.Remove(id, f, Event{}); return err }},
		"RemoveAll":      {DeferredRemove, c.RemoveAll},
		"Table":          {QueryInactive | SecureData, func(f Flags) error { _, _, err := c.Table(id, f); return err }},
		"TargetStatus":   {QueryInactive | NoFlush | SecureData, func(f Flags) error { _, _, err := c.TargetStatus(id, f); return err }},
		"Deps":           {QueryInactive, func(f Flags) error { _, err := c.Deps(id, f); return err }},
		"PrepareSuspend": {SkipLockFS | NoFlush, func(f Flags) error { _, err := c.PrepareSuspend(id, f); return err }},
		"PrepareResume":  {SkipLockFS | NoFlush, func(f Flags) error { _, err := c.PrepareResume(id, f, Event{}); return err }},
		"PrepareRemove":  {DeferredRemove, func(f Flags) error { _, err := c.PrepareRemove(id, f, Event{}); return err }},
		"PrepareLoad":    {ReadOnly, func(f Flags) error { _, err := c.PrepareLoad(id, f, nil); return err }},
	} {
		for bit := range 32 {
			if flag := Flags(1) << bit; v.valid&flag == 0 {
				if err := v.run(flag); err == nil {
					t.Errorf("%s: %v is accepted", name, flag)
				} else {
					wantErr(t, err, ErrBadFlags)
				}
			}
		}
	}
}

func TestBadIdentities(t *testing.T) {
	c := control(func(uint32, []byte) (int, error) {
		t.Error("the kernel was called")
		return 0, nil
	})
	dev := DevNo{Major: 254, Minor: 1}
	for _, v := range []struct {
		id   ID
		want error
	}{
		{ID{}, ErrBadID},
		{ID{Name: "a", UUID: "b"}, ErrBadID},
		{ID{Name: "a", Dev: dev}, ErrBadID},
		{ID{UUID: "a", Dev: dev}, ErrBadID},
		{ID{Name: "a", UUID: "b", Dev: dev}, ErrBadID},
		{ID{Dev: DevNo{Major: 4096, Minor: 0}}, ErrBadID},
		{ID{Dev: DevNo{Major: 254, Minor: 1 << 20}}, ErrBadID},
		{ID{Name: strings.Repeat("n", 128)}, ErrBadName},
		{ID{Name: "a/b"}, ErrBadName},
		{ID{Name: "a\x00b"}, ErrBadName},
		{ID{UUID: strings.Repeat("u", 129)}, ErrBadName},
		{ID{UUID: "a\x00b"}, ErrBadName},
	} {
		_, err := c.Status(v.id)
		wantErr(t, err, v.want)
	}
	for _, name := range []string{"", ".", "..", "control", "a/b", "a\x00", strings.Repeat("n", 128)} {
		_, err := c.Create(name, "", 0, DevNo{})
		wantErr(t, err, ErrBadName)
		_, err = c.Rename("x", name, Event{})
		wantErr(t, err, ErrBadName)
	}
	for _, uuid := range []string{"", "a\x00", strings.Repeat("u", 129)} {
		_, err := c.SetUUID("x", uuid)
		wantErr(t, err, ErrBadName)
	}
	_, err := c.Rename("", "x", Event{})
	wantErr(t, err, ErrBadName)
	_, err = c.Create("x", strings.Repeat("u", 129), 0, DevNo{})
	wantErr(t, err, ErrBadName)
	_, err = c.Create("x", "", 0, DevNo{Major: 0, Minor: 5})
	wantErr(t, err, ErrBadID)
	_, err = c.Create("x", "", PersistentDev, DevNo{Major: 0, Minor: 1 << 20})
	wantErr(t, err, ErrBadID)
	_, err = c.List(ID{Dev: dev})
	wantErr(t, err, ErrBadID)
	_, err = c.TargetVersion("")
	wantErr(t, err, ErrBadName)
	_, err = c.Message(ID{Name: "x"}, 0, "")
	wantErr(t, err, ErrBadSpec)
	wantErr(t, c.Load(ID{Name: "x"}, 0, []Spec{{}}), ErrBadSpec)
}

func TestLongestNamesFit(t *testing.T) {
	name, uuid := strings.Repeat("n", 127), strings.Repeat("u", 128)
	c := control(func(_ uint32, b []byte) (int, error) {
		h, err := parseHeader(b)
		if err != nil || h.name != name || h.uuid != uuid {
			t.Errorf("sent %+v, %v", h, err)
		}
		return 0, nil
	})
	_, err := c.Create(name, uuid, 0, DevNo{})
	wantErr(t, err)
}

func TestNotFound(t *testing.T) {
	exists := false
	c := control(func(request uint32, b []byte) (int, error) {
		if exists && request == reqDevStatus {
			return 0, nil
		}
		return -1, unix.ENXIO
	})
	id := ID{Name: "vg-home"}
	load := func() error { return c.Load(id, 0, nil) }
	message := func() error { _, err := c.Message(id, 0, "x"); return err }
	status := func() error { _, err := c.Status(id); return err }
	for _, run := range []func() error{load, message, status} {
		wantErr(t, run(), ErrNotFound, fs.ErrNotExist, unix.ENXIO)
	}
	if got := status().Error(); got != "status of vg-home: no such device-mapper device" {
		t.Error(got)
	}
	exists = true
	for _, run := range []func() error{load, message} {
		err := run()
		wantErr(t, err, unix.ENXIO)
		if err.(*Error).notFound() {
			t.Errorf("%v: ENXIO of a target is taken for a missing device", err)
		}
	}
	_, err := c.Version()
	if err.(*Error).notFound() {
		t.Errorf("%v: no device was asked for", err)
	}
}

// TestPositiveResult: kernel 6.1 answers 2 to a message without a live table.
func TestPositiveResult(t *testing.T) {
	c := control(func(_ uint32, b []byte) (int, error) { return 2, nil })
	_, err := c.Message(ID{Name: "x"}, 0, "checkpoint")
	wantErr(t, err, unix.EINVAL)
	call, err := c.PrepareResume(ID{Name: "x"}, 0, Event{})
	wantErr(t, err)
	wantErr(t, call.Do(), unix.EINVAL)
}

func TestMessageReply(t *testing.T) {
	reply := []byte("1 2 3\x00")
	flags := uint32(flagDataOut)
	c := control(func(_ uint32, b []byte) (int, error) {
		answer(b, header{flags: flags}, reply)
		return 0, nil
	})
	got, err := c.Message(ID{Name: "x"}, 0, "@stats_print 0")
	if err != nil || got != "1 2 3" {
		t.Errorf("got %q, %v", got, err)
	}
	reply = []byte("1 2 3")
	_, err = c.Message(ID{Name: "x"}, 0, "@stats_print 0")
	wantErr(t, err, ErrBadReply)
	flags = 0
	got, err = c.Message(ID{Name: "x"}, 0, "@stats_delete 0")
	if err != nil || got != "" {
		t.Errorf("without the flag: got %q, %v", got, err)
	}
}

// TestHostileReplies: whatever comes back is an error or a result, not a panic.
func TestHostileReplies(t *testing.T) {
	for _, count := range []uint32{0, 1, 0xffffffff} {
		for _, start := range []uint32{0, 305, 312, 0xffffffff} {
			for _, size := range []uint32{0, 305, 312, 313, 16384, 16385, 0xffffffff} {
				c := control(func(_ uint32, b []byte) (int, error) {
					h := header{dataStart: start, dataSize: size, targetCount: count, flags: flagDataOut}
					for i := range b {
						b[i] = 0xff
					}
					h.put(b)
					return 0, nil
				})
				id := ID{Name: "x"}
				_, _ = c.List(ID{})
				_, _ = c.TargetVersions()
				_, _ = c.Deps(id, 0)
				_, _ = c.Message(id, 0, "x")
				_, _, _ = c.Table(id, 0)
				_, _, _ = c.Wait(id, 0)
				_, _ = c.Status(id)
			}
		}
	}
}

func TestInfo(t *testing.T) {
	c := control(func(_ uint32, b []byte) (int, error) {
		answer(b, header{
			name: "n", uuid: "u", dev: DevNo{Major: 254, Minor: 300}.Huge(), openCount: 2, eventNr: 7, targetCount: 3,
			flags: flagSuspend | flagReadOnly | flagActivePresent | flagInactivePresent | flagDeferredRemove |
				flagInternalSuspend | flagUeventGenerated | 1<<19,
		}, nil)
		return 0, nil
	})
	want := Info{
		Name: "n", UUID: "u", Dev: DevNo{Major: 254, Minor: 300}, OpenCount: 2, EventNr: 7, TargetCount: 3, Suspended: true,
		ReadOnly: true, Live: true, Inactive: true, DeferredRemove: true, InternalSuspend: true, UeventGenerated: true,
	}
	got, err := c.Status(ID{Name: "n"})
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTargetVersionAbsent(t *testing.T) {
	reply := versionList([]TargetVersion{{"linear", Version{1, 4, 0}}})
	c := control(func(_ uint32, b []byte) (int, error) {
		answer(b, header{}, reply)
		return 0, nil
	})
	v, err := c.TargetVersion("linear")
	if err != nil || v.Version != (Version{1, 4, 0}) {
		t.Errorf("got %v, %v", v, err)
	}
	_, err = c.TargetVersion("lin")
	wantErr(t, err, unix.EINVAL)
}
