package ioctl

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHurry: the thread has the priority it had, whoever runs the test.
func TestHurry(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nice := func() int {
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		if err != nil {
			t.Fatal(err)
		}
		return 20 - raw
	}
	before := nice()
	calm := RaisePriority()
	if now := nice(); now != windowNice && now != before {
		t.Errorf("nice %d in a hurry", now)
	}
	calm()
	if now := nice(); now != before {
		t.Errorf("nice %d, before %d", now, before)
	}
}
