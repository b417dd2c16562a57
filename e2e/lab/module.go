package lab

import (
	"os"
	"strconv"
	"testing"
)

// LoadModule loads the interposer module for the time of a test that needs a guest. It must go again: whatever still uses it is a
// leak. A normal run has no time for it.
func LoadModule(t *testing.T) {
	t.Helper()
	Long(t)
	Need(t)
	path := os.Getenv("DMSNAP_MODULE")
	if path == "" {
		t.Fatal("DMSNAP_MODULE does not name the module under test: it was not compiled")
	}
	Run(t, "modprobe", "dm-mod")
	Run(t, "insmod", path)
	t.Cleanup(func() { Run(t, "rmmod", "dm_interpose") })
}

// Partition makes partition n of a disk for the time of the test, in the kernel's table only, and clears its beginning.
func Partition(t *testing.T, disk string, n, startMiB, sizeMiB int) string {
	t.Helper()
	number := strconv.Itoa(n)
	Run(t, "udevadm", "settle") // it reads the partition table of a disk that was written, and would drop ours
	Run(t, "addpart", disk, number, strconv.Itoa(startMiB*MiB), strconv.Itoa(sizeMiB*MiB))
	t.Cleanup(func() { Run(t, "delpart", disk, number) })
	dev := disk + number
	Run(t, "udevadm", "settle")
	Run(t, "dd", "if=/dev/zero", "of="+dev, "bs=64k", "count=2", "conv=fsync", "status=none")
	return dev
}
