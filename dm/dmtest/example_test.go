package dmtest_test

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/dm/dmtest"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// A backup that removes its set leaves the host as it was.
func ExampleHost_Changes() {
	ctx, h := context.Background(), dmtest.LVM()
	m := h.Manager()
	set, err := m.Create(ctx, h.Request("nightly"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(set.State, len(set.Volumes), "volumes")
	if err := m.Remove(ctx, dm.RemoveRequest{Name: "nightly"}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(len(h.Changes()), "changes")
	// Output:
	// active 2 volumes
	// 0 changes
}

// Any system call can be made to fail: here the first suspend, after which everything is
// undone.
func ExampleHost_fail() {
	ctx, h := context.Background(), dmtest.LUKS()
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_SUSPEND" {
			return unix.EIO
		}
		return nil
	})
	_, err := h.Manager().Create(ctx, h.Request("nightly"))
	fmt.Println(errors.Is(err, unix.EIO), dm.CodeOf(err))
	h.Fail(nil)
	fmt.Println(len(h.Changes()), "changes")
	// Output:
	// true failed
	// 0 changes
}
