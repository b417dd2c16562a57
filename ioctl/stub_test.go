package ioctl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// stub is a kernel of a few functions. A system call without one is a panic: the
// test did not expect it.
type stub struct {
	transport.Kernel
	ioctl    func(fd int, request uint32, arg []byte) (int, error)
	ioctlInt func(fd int, request uint32, arg uintptr) (int, error)
	open     func(path string, flags int, perm uint32) (int, error)
	read     func(fd int, b []byte) (int, error)
	pread    func(fd int, b []byte, off int64) (int, error)
	write    func(fd int, b []byte) (int, error)
	pwrite   func(fd int, b []byte, off int64) (int, error)
	mkdir    func(path string, perm uint32) error
	mknod    func(path string, mode uint32, dev uint64) error
	unlink   func(path string) error
	stat     func(path string) (transport.Stat, error)
	fstat    func(fd int) (transport.Stat, error)
	poll     func(fd int, timeout time.Duration) (bool, error)
	fsync    func(fd int) error
	closed   []int
	sem      *semaphore
	kill     func(pid, signal int) error
}

func (s *stub) Fstat(fd int) (transport.Stat, error) { return s.fstat(fd) }

func (s *stub) Ioctl(fd int, request uint32, arg []byte) (int, error) {
	return s.ioctl(fd, request, arg)
}

func (s *stub) IoctlInt(fd int, request uint32, arg uintptr) (int, error) {
	return s.ioctlInt(fd, request, arg)
}

func (s *stub) Open(path string, flags int, perm uint32) (int, error) {
	return s.open(path, flags, perm)
}

func (s *stub) Close(fd int) error {
	s.closed = append(s.closed, fd)
	return nil
}
func (s *stub) Read(fd int, b []byte) (int, error)              { return s.read(fd, b) }
func (s *stub) Pread(fd int, b []byte, off int64) (int, error)  { return s.pread(fd, b, off) }
func (s *stub) Write(fd int, b []byte) (int, error)             { return s.write(fd, b) }
func (s *stub) Pwrite(fd int, b []byte, off int64) (int, error) { return s.pwrite(fd, b, off) }
func (s *stub) Mkdir(path string, perm uint32) error            { return s.mkdir(path, perm) }
func (s *stub) Mknod(path string, m uint32, dev uint64) error   { return s.mknod(path, m, dev) }
func (s *stub) Unlink(path string) error                        { return s.unlink(path) }
func (s *stub) Stat(path string) (transport.Stat, error)        { return s.stat(path) }
func (s *stub) Poll(fd int, d time.Duration) (bool, error)      { return s.poll(fd, d) }
func (s *stub) Fsync(fd int) error                              { return s.fsync(fd) }
func (s *stub) Kill(pid, signal int) error                      { return s.kill(pid, signal) }

// control is a Control on descriptor 7 of a stub.
func control(ioctl func(request uint32, b []byte) (int, error)) *Control {
	k := New(&stub{ioctl: func(_ int, request uint32, b []byte) (int, error) { return ioctl(request, b) }})
	return &Control{k: k, fd: 7}
}

// file is a File on descriptor 5 of a stub.
func file(s *stub) *File { return &File{k: New(s), fd: 5, path: "/dev/x"} }

// answer writes a reply as the kernel does: the header over the one of the
// request, the payload behind it.
func answer(b []byte, h header, payload []byte) {
	h.version = Version{4, 47, 0}
	h.dataStart = headerSize
	h.dataSize = plainSize
	if payload != nil {
		h.dataSize = uint32(headerSize + len(payload))
		copy(b[headerSize:], payload)
	}
	h.put(b)
}

// dump is a hex dump without its lines of zeros.
func dump(b []byte) string {
	var out strings.Builder
	for _, line := range strings.SplitAfter(hex.Dump(b), "\n") {
		if len(line) < 60 || strings.Trim(line[10:58], " 0") != "" {
			out.WriteString(line)
		}
	}
	return out.String()
}

// diff shows lines that only one text has, beside those both have.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	for len(w) > 0 || len(g) > 0 {
		switch {
		case len(w) > 0 && len(g) > 0 && w[0] == g[0]:
			fmt.Fprintf(&out, "  %s\n", w[0])
			w, g = w[1:], g[1:]
		case len(w) > 0 && !contains(g, w[0]):
			fmt.Fprintf(&out, "- %s\n", w[0])
			w = w[1:]
		case len(g) > 0:
			fmt.Fprintf(&out, "+ %s\n", g[0])
			g = g[1:]
		default:
			fmt.Fprintf(&out, "- %s\n", w[0])
			w = w[1:]
		}
	}
	return out.String()
}

func contains(lines []string, line string) bool {
	for _, l := range lines {
		if l == line {
			return true
		}
	}
	return false
}

// wantErr fails unless err is every one of wants; none means no error.
func wantErr(t *testing.T, err error, wants ...error) {
	t.Helper()
	if len(wants) == 0 && err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	for _, want := range wants {
		if !errors.Is(err, want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
	}
}

// semaphore is one System V semaphore that does not block: what would block runs
// the function meanwhile, which may change the value.
type semaphore struct {
	log       []string
	value     int
	removed   bool
	meanwhile func(*semaphore) error
	getErrs   []error // of Semget, one after the other
	setErr    error
}

func (s *stub) Semget(key int32, n, flags int) (int, error) {
	s.sem.log = append(s.sem.log, fmt.Sprintf("get %04x n=%d flags=%o", key>>16, n, flags))
	if len(s.sem.getErrs) > 0 {
		err := s.sem.getErrs[0]
		s.sem.getErrs = s.sem.getErrs[1:]
		if err != nil {
			return -1, err
		}
	}
	return 42, nil
}

func (s *stub) SemSetval(_, _, value int) error {
	s.sem.log = append(s.sem.log, fmt.Sprintf("set %d", value))
	s.sem.value = value
	return s.sem.setErr
}

func (s *stub) SemGetval(int, int) (int, error) { return s.sem.value, nil }

func (s *stub) SemRemove(int) error {
	s.sem.log = append(s.sem.log, "remove")
	if s.sem.removed {
		return unix.EINVAL
	}
	s.sem.removed = true
	return nil
}

func (s *stub) Semop(_ int, op transport.SemOp, _ time.Duration) error {
	s.sem.log = append(s.sem.log, fmt.Sprintf("op %+d", op.Op))
	if s.sem.removed {
		return unix.EINVAL
	}
	for op.Op < 0 && s.sem.value+int(op.Op) < 0 || op.Op == 0 && s.sem.value != 0 {
		if op.Flags&ipcNoWait != 0 {
			return unix.EAGAIN
		}
		if err := s.sem.meanwhile(s.sem); err != nil {
			return err
		}
	}
	s.sem.value += int(op.Op)
	return nil
}
