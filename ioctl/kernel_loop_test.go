package ioctl_test

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// TestKernelLoop makes a file that has no name until it is complete, pins it, and puts a loop device over it that writes
// past the page cache and goes by itself.
func TestKernelLoop(t *testing.T) {
	k, _ := guest(t)
	dir := mounted(t, k)
	f, err := k.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	must(t, err)
	must(t, f.Allocate(0, 1<<20))
	st, err := f.Stat()
	must(t, err)
	if names, err := k.ReadDir(dir); err != nil || len(names) != 1 || st.Size != 1<<20 {
		t.Errorf("%v, %v, size %d", names, err, st.Size)
	}
	path := dir + "/store"
	must(t, f.Link(path))
	mustFail(t, f.Link(path), unix.EEXIST)
	must(t, f.Close())
	f, err = k.Open(path, unix.O_RDWR, 0)
	must(t, err)
	flags, err := f.GetFlags()
	must(t, err)
	must(t, f.SetFlags(flags|ioctl.FlagAppend|ioctl.FlagNoDump))
	_, err = k.Open(path, unix.O_RDWR, 0)
	mustFail(t, err, unix.EPERM)
	mustFail(t, f.Truncate(0), unix.EPERM)
	mustFail(t, k.Unlink(path), unix.EPERM)
	if realtime, err := f.Realtime(); realtime || err != nil {
		t.Errorf("realtime: %v, %v", realtime, err)
	}

	loop := attach(t, k, f, ioctl.LoopAutoclear|ioctl.LoopDirectIO)
	if flags, err := loop.LoopFlags(); err != nil || flags != ioctl.LoopAutoclear|ioctl.LoopDirectIO {
		t.Errorf("flags %#x, %v", flags, err)
	}
	_, err = loop.WriteAt(bytes.Repeat([]byte{7}, 4096), 8192)
	must(t, err)
	must(t, loop.Sync())
	got := make([]byte, 4096)
	_, err = f.ReadAt(got, 8192)
	must(t, err)
	if got[0] != 7 || got[4095] != 7 {
		t.Error("what is written to the loop device is not in its file")
	}
	must(t, loop.Close())
	must(t, f.SetFlags(flags))
	must(t, f.Close())
	must(t, k.Unlink(path))
}

// TestKernelMemory: a filesystem that is mounted nowhere lives as long as a loop device over a file of it, which has no
// direct I/O, asked for or not.
func TestKernelMemory(t *testing.T) {
	k, _ := guest(t)
	mount, err := k.MountPrivate("ramfs", "")
	must(t, err)
	f, err := k.Open(mount.Path()+"/store", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	must(t, err)
	_, err = f.WriteAt(make([]byte, 1<<20), 0)
	must(t, err)
	loop := attach(t, k, f, ioctl.LoopAutoclear|ioctl.LoopDirectIO)
	must(t, f.Close())
	must(t, mount.Close())
	if flags, err := loop.LoopFlags(); err != nil || flags != ioctl.LoopAutoclear {
		t.Errorf("flags %#x, %v", flags, err)
	}
	_, err = loop.WriteAt(make([]byte, 4096), 1<<20-4096)
	must(t, err)
	if size, err := loop.BlockSize(); err != nil || size != 1<<20 {
		t.Errorf("size %d, %v", size, err)
	}
	must(t, loop.Close())
}

// attach makes a loop device that has no file any more once it is closed.
func attach(t *testing.T, k *ioctl.Kernel, f *ioctl.File, flags ioctl.LoopFlags) *ioctl.File {
	t.Helper()
	loop, err := k.AttachLoop(f, 512, flags)
	must(t, err)
	path := loop.Path()
	t.Cleanup(func() {
		// udev may have the device open for a moment: the file goes with the last
		// that closes it, which an open of ours would put off.
		var err error
		for deadline := time.Now().Add(time.Minute); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			again, oerr := k.Open(path, unix.O_RDONLY, 0)
			must(t, oerr)
			_, err = again.LoopFlags()
			must(t, again.Close())
		}
		mustFail(t, err, unix.ENXIO)
	})
	return loop
}
