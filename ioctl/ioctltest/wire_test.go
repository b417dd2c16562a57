package ioctltest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// raw speaks bytes with the control device.
type raw struct {
	*testing.T
	s  *syscalls
	fd int
}

func newRaw(t *testing.T, release string) *raw {
	t.Helper()
	k := New(Options{Release: release})
	k.AddDisk("vdb", ioctl.DevNo{Major: 252, Minor: 16}, 1<<20)
	r := &raw{T: t, s: &syscalls{k}}
	var err error
	if r.fd, err = r.s.Open("/dev/mapper/control", unix.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	return r
}

// header is a request as libdm would build it.
func (r *raw) header(size int, name string, flags uint32) []byte {
	b := make([]byte, size)
	put32(b, offVersion, 4)
	put32(b, offDataSize, uint32(size))
	put32(b, offDataStart, headerSize)
	put32(b, offFlags, flags)
	copy(b[offName:], name)
	return b
}

func (r *raw) call(nr uint32, b []byte) (int, error) {
	return r.s.Ioctl(r.fd, 0xc138fd00|nr, b)
}

func (r *raw) must(nr uint32, b []byte) {
	r.Helper()
	if ret, err := r.call(nr, b); err != nil || ret != 0 {
		r.Fatalf("command %d: %d, %v", nr, ret, err)
	}
}

func (r *raw) is(what string, got, want uint32) {
	r.Helper()
	if got != want {
		r.Errorf("%s: got %#x, want %#x", what, got, want)
	}
}

func TestVersionRules(t *testing.T) {
	for release, minor := range map[string]uint32{"6.1.0": 47, "6.12.1": 48, "7.2.13": 50} {
		r := newRaw(t, release)
		for _, c := range []struct {
			version [3]uint32
			want    error
		}{
			{[3]uint32{4, 0, 0}, nil},
			{[3]uint32{4, minor, 99}, nil},
			{[3]uint32{4, minor + 1, 0}, unix.EINVAL},
			{[3]uint32{3, 0, 0}, unix.EINVAL},
			{[3]uint32{5, 0, 0}, unix.EINVAL},
		} {
			b := r.header(headerSize, "", 0)
			for i, v := range c.version {
				put32(b, 4*i, v)
			}
			if _, err := r.call(cmdVersion, b); err != c.want {
				t.Errorf("%s %v: %v, want %v", release, c.version, err, c.want)
			}
			r.is("minor written back", u32(b, 4), minor)
		}
	}
}

func TestHeaderRules(t *testing.T) {
	r := newRaw(t, "6.1.0")
	r.must(cmdCreate, r.header(headerSize, "one", 0))

	const unknown = 1<<2 | 1<<7 | 1<<19 | 1<<20 | 1<<31
	b := r.header(headerSize, "one", unknown|flagBufferFull|flagUevent|flagSecureData|flagDataOut)
	r.must(cmdStatus, b)
	r.is("flags come back", u32(b, offFlags), unknown)
	r.is("used", u32(b, offDataSize), offData)

	for _, size := range []uint32{0, offData - 1, maxParam + 1} {
		b = r.header(headerSize, "one", 0)
		put32(b, offDataSize, size)
		if _, err := r.call(cmdStatus, b); err != unix.EINVAL {
			t.Errorf("data_size %d: %v", size, err)
		}
	}
	b = r.header(headerSize, "one", 0)
	copy(b[offUUID:], "x")
	before := bytes.Clone(b)
	if _, err := r.call(cmdStatus, b); err != unix.EINVAL {
		t.Errorf("name and uuid: %v", err)
	}
	if !bytes.Equal(b[12:], before[12:]) {
		t.Error("more than the version was written back")
	}
	b = r.header(headerSize, "one", 0)
	binary.NativeEndian.PutUint64(b[offDev:], hugeDev(ioctl.DevNo{Major: DMMajor}))
	if _, err := r.call(cmdStatus, b); err != unix.ENXIO {
		t.Errorf("name and number: %v", err)
	}
	if _, err := r.call(cmdStatus, r.header(headerSize, "", 0)); err != unix.ENXIO {
		t.Errorf("nothing: %v", err)
	}
	if _, err := r.call(99, r.header(headerSize, "", 0)); err != unix.ENOTTY {
		t.Errorf("unknown command: %v", err)
	}
}

func TestRenameReply(t *testing.T) {
	r := newRaw(t, "6.12.1")
	b := r.header(headerSize, "one", 0)
	copy(b[offUUID:], "U")
	r.must(cmdCreate, b)
	b = append(r.header(headerSize, "one", 0), "two\x00"...)
	put32(b, offDataSize, uint32(len(b)))
	r.must(cmdRename, b)
	if got := cstring(b[offName:]); got != "one" {
		t.Errorf("name in the reply: %q", got)
	}
	if got := cstring(b[offUUID:]); got != "" {
		t.Errorf("uuid in the reply: %q", got)
	}
}

func TestNamesByRelease(t *testing.T) {
	for release, want := range map[string]error{"6.1.0": nil, "6.12.1": unix.EINVAL} {
		r := newRaw(t, release)
		for _, name := range []string{".", "..", "control"} {
			if _, err := r.call(cmdCreate, r.header(headerSize, name, 0)); err != want {
				t.Errorf("%s %q: %v", release, name, err)
			}
		}
		if _, err := r.call(cmdCreate, r.header(headerSize, "a/b", 0)); err != unix.EINVAL {
			t.Errorf("slash: %v", err)
		}
	}
	r := newRaw(t, "6.1.0")
	r.must(cmdCreate, r.header(headerSize, strings.Repeat("x", 128), 0))
	r.must(cmdStatus, r.header(headerSize, strings.Repeat("x", 127), 0))
}

// TestMessageWithoutTable: the one call with a positive result.
func TestMessageWithoutTable(t *testing.T) {
	for release, want := range map[string]struct {
		ret int
		err error
	}{"6.1.0": {2, nil}, "6.12.1": {0, unix.EINVAL}} {
		r := newRaw(t, release)
		r.must(cmdCreate, r.header(headerSize, "one", 0))
		b := append(r.header(headerSize, "one", 0), "\x00\x00\x00\x00\x00\x00\x00\x00hello\x00"...)
		put32(b, offDataSize, uint32(len(b)))
		if ret, err := r.call(cmdMessage, b); ret != want.ret || err != want.err {
			t.Errorf("%s: %d, %v", release, ret, err)
		}
	}
}

// load builds a TABLE_LOAD whose rows are padded to a multiple of pad.
func (r *raw) load(name string, pad int, rows ...Row) []byte {
	b := r.header(headerSize, name, 0)
	put32(b, offTargets, uint32(len(rows)))
	for _, row := range rows {
		s := make([]byte, specSize)
		binary.NativeEndian.PutUint64(s, row.Start)
		binary.NativeEndian.PutUint64(s[8:], row.Length)
		copy(s[24:], row.Type)
		s = append(s, row.Params+"\x00"...)
		for len(s)%pad != 0 {
			s = append(s, 0)
		}
		put32(s, 20, uint32(len(s)))
		b = append(b, s...)
	}
	put32(b, offDataSize, uint32(len(b)))
	return b
}

func TestTargetSpecs(t *testing.T) {
	rows := []Row{{0, 8, "linear", "252:16 100"}, {8, 8, "zero", ""}, {16, 8, "error", ""}}
	for release, want := range map[string]error{"6.1.0": nil, "6.12.1": unix.EINVAL} {
		r := newRaw(t, release)
		r.must(cmdCreate, r.header(headerSize, "one", 0))
		if _, err := r.call(cmdLoad, r.load("one", 1, rows...)); err != want {
			t.Errorf("%s: rows without padding: %v", release, err)
		}
		r.must(cmdLoad, r.load("one", 8, rows...))
		r.must(cmdSuspend, r.header(headerSize, "one", 0))

		b := r.header(1024, "one", flagStatusTable)
		r.must(cmdTableStatus, b)
		r.is("start", u32(b, offDataStart), headerSize)
		r.is("targets", u32(b, offTargets), 3)
		r.is("next of the first", u32(b, headerSize+20), 56)
		r.is("next of the second", u32(b, headerSize+56+20), 104)
		r.is("used", u32(b, offDataSize), headerSize+104+specSize+1)
		if got := cstring(b[headerSize+specSize:]); got != "252:16 100" {
			t.Errorf("params %q", got)
		}
		b = r.header(headerSize+100, "one", flagStatusTable)
		r.must(cmdTableStatus, b)
		r.is("full", u32(b, offFlags)&flagBufferFull, flagBufferFull)
		r.is("targets", u32(b, offTargets), 3)
	}
}

func TestListRecords(t *testing.T) {
	r := newRaw(t, "6.1.0")
	b := r.header(1024, "", flagUUID)
	r.must(cmdListDevices, b)
	r.is("used when empty", u32(b, offDataSize), headerSize)
	first := r.header(headerSize, "a", 0)
	copy(first[offUUID:], "UUID-a")
	r.must(cmdCreate, first)
	r.must(cmdCreate, r.header(headerSize, "b", 0))
	b = r.header(1024, "", flagUUID)
	r.must(cmdListDevices, b)
	r.is("used", u32(b, offDataSize), headerSize+32+24)
	rec := b[headerSize:]
	r.is("next", u32(rec, 8), 32)
	r.is("has a uuid", u32(rec, 20), 1)
	if got := cstring(rec[24:]); got != "UUID-a" {
		t.Errorf("uuid %q", got)
	}
	r.is("last", u32(rec[32:], 8), 0)
	r.is("has no uuid", u32(rec[32:], 20), 2)
	b = r.header(headerSize+40, "", flagUUID)
	r.must(cmdListDevices, b)
	r.is("full", u32(b, offFlags)&flagBufferFull, flagBufferFull)
}

func TestUnprivileged(t *testing.T) {
	r := newRaw(t, "6.1.0")
	r.s.k.SetEuid(1000)
	if _, err := r.call(cmdVersion, r.header(headerSize, "", 0)); err != unix.EACCES {
		t.Errorf("version: %v", err)
	}
	if _, err := r.s.Open("/dev/mapper/control", unix.O_RDWR, 0); err != unix.EACCES {
		t.Errorf("open: %v", err)
	}
}

// FuzzControl: no bytes may crash the kernel or corrupt its lists.
func FuzzControl(f *testing.F) {
	f.Add(uint32(cmdLoad), (&raw{}).load("one", 8, Row{0, 8, "linear", "252:16 0"}))
	f.Add(uint32(cmdMessage), (&raw{}).header(400, "one", 0))
	f.Add(uint32(cmdRename), (&raw{}).header(400, "one", flagUUID))
	f.Fuzz(func(t *testing.T, nr uint32, b []byte) {
		if nr == cmdWait {
			return // it waits
		}
		r := newRaw(t, "6.1.0")
		r.must(cmdCreate, r.header(headerSize, "one", 0))
		_, _ = r.call(nr%32, b)
		_, _ = r.call(cmdListDevices, r.header(1024, "", flagUUID))
	})
}
