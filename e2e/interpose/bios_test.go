package interpose

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestKindsOfBios sends what is not a plain read or write through a front that supports less than the device.
func TestKindsOfBios(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	r := newRig(t, "kinds", plain)
	r.attach()
	lab.Run(t, "blkdiscard", plain)
	lab.Run(t, "fallocate", "--zero-range", "--length", "8MiB", plain)
	dir := formatted(t, plain)
	lab.Run(t, "fstrim", "-v", dir)

	f, err := os.OpenFile(plain, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := lab.Aligned(4096)
	if _, err := unix.Preadv2(int(f.Fd()), [][]byte{buf}, 0, unix.RWF_NOWAIT); err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Errorf("RWF_NOWAIT: %v", err)
	}
	if _, err := unix.Preadv2(int(f.Fd()), [][]byte{buf}, 0, unix.RWF_HIPRI); err != nil {
		t.Errorf("RWF_HIPRI: %v", err)
	}
	r.detach()
}

// TestFlushesArrive counts flushes at the disk: none may be lost between.
func TestFlushesArrive(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	r := newRig(t, "flush", plain)
	flushes := func() int { return stat(t, filepath.Base(disks[0]), 16) }
	f, err := os.OpenFile(plain, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(n int) int {
		before := flushes()
		for i := range n {
			if _, err := f.WriteAt(make([]byte, 4096), int64(i)*4096); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		return flushes() - before
	}
	direct := write(20)
	r.attach()
	through := write(20)
	r.detach()
	if direct < 20 || through < direct {
		t.Errorf("20 syncs made %d flushes, and %d with the front", direct, through)
	}
}

// TestOtherNames writes through the whole disk: what goes to sectors of the attached partition is counted as bypassing the
// front, what goes beside them is not.
func TestOtherNames(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	r := newRig(t, "alias", plain)
	r.attach()
	write := func(dev string, mib int) {
		lab.Run(t, "dd", "if=/dev/zero", "of="+dev, "bs=64k", "count=1", "oflag=direct,seek_bytes", fmt.Sprintf("seek=%dM", mib), "conv=notrunc", "status=none")
	}
	write(plain, 0)
	write(disks[0], 65)
	lab.Run(t, "dd", "if="+disks[0], "of=/dev/null", "bs=1M", "skip=1", "count=8", "iflag=direct", "status=none")
	if _, bypassed := r.status(); bypassed != 0 {
		t.Errorf("%d writes are said to bypass the front, none did", bypassed)
	}
	write(disks[0], 1)
	write(disks[0], 64)
	if _, bypassed := r.status(); bypassed != 2 {
		t.Errorf("%d writes are said to bypass the front, 2 did", bypassed)
	}
	r.detach()
}

// TestDeviceGrows makes the partition larger while it is attached: filesystems are grown online.
func TestDeviceGrows(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	r := newRig(t, "grow", plain)
	dir := formatted(t, plain)
	r.attach()
	lab.Run(t, "resizepart", disks[0], "1", strconv.Itoa(96*lab.MiB))
	lab.Run(t, "resize2fs", plain)
	pattern := bytes.Repeat([]byte("straddle"), 1<<17)
	if err := os.WriteFile(dir+"/file", bytes.Repeat(pattern, 40), 0o600); err != nil {
		t.Fatal(err)
	}
	// One bio across the old end: direct I/O of 1 MiB that begins before it.
	f, err := os.OpenFile(plain, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lab.Run(t, "fsfreeze", "-f", dir)
	buf := lab.Aligned(1 << 20)
	if _, err := f.ReadAt(buf, 64<<20-512<<10); err != nil {
		t.Errorf("read across the old end: %v", err)
	}
	if _, err := f.WriteAt(buf, 64<<20-512<<10); err != nil {
		t.Errorf("write across the old end: %v", err)
	}
	through := sum(t, plain)
	r.detach()
	if sum(t, plain) != through {
		t.Error("the device reads differently without its front")
	}
	lab.Run(t, "fsfreeze", "-u", dir)
	lab.Run(t, "umount", dir)
	lab.Run(t, "e2fsck", "-fn", plain)
	lab.Run(t, "mount", plain, dir)
}

// TestManyDevices attaches many partitions of one disk.
func TestManyDevices(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	var rigs []*rig
	for i := range lab.Rounds(t, 8, 64) {
		plain := lab.Partition(t, disks[0], i+1, 1+i, 1)
		r := newRig(t, fmt.Sprintf("many%d", i), plain)
		r.attach()
		rigs = append(rigs, r)
	}
	for i, r := range rigs {
		lab.Run(t, "dd", "if=/dev/urandom", "of="+r.plain, "bs=64k", "count=4", "oflag=direct", "status=none")
		if i%2 == 0 {
			r.detach()
		}
	}
	for i, r := range rigs {
		lab.Run(t, "dd", "if="+r.plain, "of=/dev/null", "bs=64k", "iflag=direct", "status=none")
		if i%2 == 1 {
			r.detach()
		}
		if _, bypassed := r.status(); bypassed != 0 {
			t.Errorf("%s: %d writes bypassed the front", r.plain, bypassed)
		}
	}
}
