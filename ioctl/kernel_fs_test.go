package ioctl_test

import (
	"errors"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// mounted makes an ext4 on a RAM disk, mounts it, and returns its directory.
func mounted(t *testing.T, k *ioctl.Kernel) string {
	t.Helper()
	const disk, dir = "/dev/ram0", "/run/dmsnap-ioctltest"
	run(t, "modprobe", "brd", "rd_nr=1", "rd_size=65536")
	run(t, "mkfs.ext4", "-q", "-F", disk)
	must(t, k.MkdirAll(dir, 0o700))
	must(t, k.Mount(disk, dir, "ext4", 0, ""))
	t.Cleanup(func() {
		// A loop device gives its file back a moment after it says that it has none.
		err := k.Unmount(dir, 0)
		for deadline := time.Now().Add(time.Minute); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			err = k.Unmount(dir, 0)
		}
		must(t, err)
		must(t, k.Rmdir(dir))
		run(t, "modprobe", "-r", "brd")
	})
	return dir
}

func run(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
}

func TestKernelFreeze(t *testing.T) {
	k, _ := guest(t)
	dir := mounted(t, k)
	f, err := k.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer f.Close()
	mustFail(t, f.Thaw(), unix.EINVAL)
	freeze, thaw := f.PrepareFreeze(), f.PrepareThaw()
	for range 2 {
		must(t, freeze.Do())
		mustFail(t, f.Freeze(), unix.EBUSY)
		must(t, thaw.Do())
		mustFail(t, thaw.Do(), unix.EINVAL)
	}
	must(t, f.SyncFS())
	st, err := k.Statfs(dir)
	must(t, err)
	if st.Type != unix.EXT4_SUPER_MAGIC || st.BlockSize <= 0 || st.Free < st.Avail || st.Blocks < st.Free {
		t.Errorf("statfs %+v", st)
	}
	proc, err := k.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer proc.Close()
	mustFail(t, proc.Freeze(), unix.EOPNOTSUPP)
}

func TestKernelExtents(t *testing.T) {
	k, _ := guest(t)
	path := mounted(t, k) + "/file"
	f, err := k.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	must(t, err)
	defer f.Close()
	extents, err := f.Extents(ioctl.FiemapSync)
	must(t, err)
	if len(extents) != 0 {
		t.Errorf("empty file: %v", extents)
	}
	const pieces, step = 700, 64 << 10 // more extents than one call returns
	for i := range int64(pieces) {
		_, err := f.WriteAt(make([]byte, 4096), i*step)
		must(t, err)
	}
	extents, err = f.Extents(ioctl.FiemapSync)
	must(t, err)
	if len(extents) != pieces {
		t.Fatalf("%d extents, want %d", len(extents), pieces)
	}
	for i, e := range extents {
		last := i == pieces-1
		if e.Logical != uint64(i)*step || e.Length != 4096 || e.Physical == 0 || (e.Flags&ioctl.ExtentLast != 0) != last {
			t.Errorf("extent %d: %+v", i, e)
		}
	}
	slices.SortFunc(extents, func(a, b ioctl.Extent) int { return int(a.Physical) - int(b.Physical) })
	for i := range pieces - 1 {
		if extents[i].Physical+extents[i].Length > extents[i+1].Physical {
			t.Errorf("%+v and %+v overlap", extents[i], extents[i+1])
		}
	}
}

func TestKernelImmutable(t *testing.T) {
	k, _ := guest(t)
	path := mounted(t, k) + "/file"
	must(t, k.WriteFile(path, []byte("x"), 0o600))
	f, err := k.Open(path, unix.O_RDONLY, 0)
	must(t, err)
	defer f.Close()
	flags, err := f.GetFlags()
	must(t, err)
	must(t, f.SetFlags(flags|ioctl.FlagImmutable))
	mustFail(t, k.Unlink(path), unix.EPERM)
	if got, err := f.GetFlags(); err != nil || got != flags|ioctl.FlagImmutable {
		t.Errorf("flags %#x, %v", got, err)
	}
	must(t, f.SetFlags(flags))
	must(t, k.Unlink(path))
}
