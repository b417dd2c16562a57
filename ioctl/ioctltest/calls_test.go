package ioctltest

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// TestLoopCalls speaks to loop devices as losetup does.
func TestLoopCalls(t *testing.T) {
	k := New(Options{})
	s := &syscalls{k}
	k.WriteFile("/var/store", "")
	ok := func(got int, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	refused := func(want error, _ int, err error) {
		t.Helper()
		if err != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	backing := ok(s.Open("/var/store", unix.O_RDWR, 0))
	ok(0, s.Ftruncate(backing, 1<<20))
	control := ok(s.Open("/dev/loop-control", unix.O_RDWR, 0))
	minor := ok(s.IoctlInt(control, loopCtlGetFree, 0))
	dev := ok(s.Open("/dev/loop"+itoa(uint32(minor)), unix.O_RDWR, 0))
	refused(unix.ENXIO, 0, s.file("ioctl", dev, func(f *file) error { return k.loopIoctlInt(f.dev, loopClrFD, 0) }))

	config := make([]byte, loopConfigSize)
	put32(config, 0, uint32(backing))
	put32(config, infoAt+infoFlags, loopAutoclear)
	copy(config[infoAt+infoName:], "/var/store")
	ok(s.Ioctl(dev, loopConfigure, config))
	ret, err := s.Ioctl(dev, loopConfigure, config)
	refused(unix.EBUSY, ret, err)
	ok(s.IoctlInt(dev, loopSetDirectIO, 1))
	status := make([]byte, loopInfoSize)
	ok(s.Ioctl(dev, loopGetStatus, status))
	if got := u32(status, infoFlags); got != loopAutoclear|loopDirectIO {
		t.Errorf("flags %#x", got)
	}
	if got := cstring(status[infoName:]); got != "/var/store" {
		t.Errorf("name %q", got)
	}
	if got := k.must(ioctl.DevNo{Major: loopMajor}).size(); got != 2048 {
		t.Errorf("%d sectors", got)
	}
	if next := ok(s.IoctlInt(control, loopCtlGetFree, 0)); next == minor {
		t.Error("a loop device in use is free")
	}
	ok(s.IoctlInt(dev, loopClrFD, 0))
	ok(0, s.Close(dev))
	if k.loops[uint32(minor)].loop != nil {
		t.Error("not cleared at the last close")
	}
}

func TestSemaphores(t *testing.T) {
	k := New(Options{})
	s := &syscalls{k}
	id, err := s.Semget(7, 1, ipcCreat|ipcExcl|0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key   int32
		flags int
		want  error
	}{{7, ipcCreat | ipcExcl, unix.EEXIST}, {7, 0, nil}, {8, 0, unix.ENOENT}} {
		if _, err := s.Semget(c.key, 1, c.flags); err != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := s.SemSetval(id, 0, 40000); err != unix.ERANGE {
		t.Error(err)
	}
	if err := s.SemSetval(id, 0, 2); err != nil {
		t.Error(err)
	}
	if v, err := s.SemGetval(id, 0); v != 2 || err != nil {
		t.Error(v, err)
	}
	if err := s.SemRemove(id); err != nil {
		t.Error(err)
	}
	if _, err := s.SemGetval(id, 0); err != unix.EINVAL {
		t.Error(err)
	}
}
