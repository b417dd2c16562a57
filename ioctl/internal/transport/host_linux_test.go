package transport

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSemaphore needs no privilege, only a kernel with System V semaphores.
func TestSemaphore(t *testing.T) {
	h := Host{}
	id, err := h.Semget(0, 1, 0o600) // IPC_PRIVATE
	if err == unix.ENOSYS {
		t.Skip("no System V semaphores here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SemSetval(id, 0, 3); err != nil {
		t.Error(err)
	}
	if n, err := h.SemGetval(id, 0); n != 3 || err != nil {
		t.Errorf("value %d, %v", n, err)
	}
	if err := h.Semop(id, SemOp{Op: -1}, -1); err != nil {
		t.Error(err)
	}
	if n, err := h.SemGetval(id, 0); n != 2 || err != nil {
		t.Errorf("value %d, %v", n, err)
	}
	start := time.Now()
	if err := h.Semop(id, SemOp{Op: 0}, 1100*time.Millisecond); err != unix.EAGAIN {
		t.Errorf("waiting for zero: %v", err)
	}
	if took := time.Since(start); took < 1050*time.Millisecond {
		t.Errorf("waited %v", took)
	}
	if err := h.Semop(id, SemOp{Op: -3, Flags: 0o4000}, -1); err != unix.EAGAIN {
		t.Errorf("below zero: %v", err)
	}
	if err := h.SemRemove(id); err != nil {
		t.Error(err)
	}
	if err := h.SemRemove(id); err != unix.EINVAL {
		t.Errorf("removed twice: %v", err)
	}
}

func TestPoll(t *testing.T) {
	h := Host{}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	if ready, err := h.Poll(p[0], 10*time.Millisecond); ready || err != nil {
		t.Errorf("empty pipe: %v, %v", ready, err)
	}
	if _, err := h.Write(p[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, timeout := range []time.Duration{0, 1<<63 - 1, -1} {
		if ready, err := h.Poll(p[0], timeout); !ready || err != nil {
			t.Errorf("full pipe: %v, %v", ready, err)
		}
	}
	b := make([]byte, 1)
	if n, err := h.Read(p[0], b); n != 1 || err != nil {
		t.Error(n, err)
	}
	unix.Close(p[1])
	if ready, err := h.Poll(p[0], -1); !ready || err != nil {
		t.Errorf("hung up: %v, %v", ready, err)
	}
	if _, err := h.Poll(1<<20, 0); err != unix.EBADF {
		t.Errorf("no descriptor: %v", err)
	}
}

func TestErrnoIsPlain(t *testing.T) {
	h := Host{}
	if _, err := h.Open("/no/such", unix.O_RDONLY, 0); err != unix.ENOENT {
		t.Errorf("open: %v", err)
	}
	if _, err := h.Ioctl(1<<20, unix.BLKGETSIZE64, make([]byte, 8)); err != unix.EBADF {
		t.Errorf("ioctl: %v", err)
	}
	if err := h.Mknod(t.TempDir()+"/x", unix.S_IFCHR, 1<<32); err != unix.EINVAL {
		t.Errorf("mknod: %v", err)
	}
}

// TestOpenIsCloseOnExec also sees an ioctl without a pointer, FIOCLEX of
// include/uapi/asm-generic/ioctls.h.
func TestOpenIsCloseOnExec(t *testing.T) {
	const fioclex = 0x5451
	h := Host{}
	fd, err := h.Open(t.TempDir(), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 || err != nil {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if ret, err := h.Ioctl(fd, fioclex, nil); ret != 0 || err != nil {
		t.Errorf("ioctl: %d, %v", ret, err)
	}
}
