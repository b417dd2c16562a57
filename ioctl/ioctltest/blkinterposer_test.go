package ioctltest

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// TestBlkInterposer speaks the published protocol with a kernel that has it: a
// tracker slides beneath a mounted partition, sees its writes, and goes again.
func TestBlkInterposer(t *testing.T) {
	k := New(Options{BlkInterposer: true})
	no := ioctl.DevNo{Major: 252}
	k.AddDisk("vda", no, 4096*sectorSize)
	k.AddDisk("vdb", ioctl.DevNo{Major: 252, Minor: 16}, 4096*sectorSize)
	k.Mount(no, "/data", "ext4")
	c, err := k.Border().OpenControl()
	ok(t, err)
	defer c.Close()
	specs := []ioctl.Spec{{Length: 4096, Type: "era", Params: "252:16 [interpose]252:0 8"}}
	id := ioctl.ID{Name: "tracker"}
	_, err = c.Create("tracker", "", 0, ioctl.DevNo{})
	ok(t, err)
	if err := c.Load(id, 0, specs); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the prefix without the flag: %v", err)
	}
	if err := c.LoadRaw(id, flagInterpose, 0, []ioctl.Spec{{Length: 8, Type: "zero"}}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the flag without a device: %v", err)
	}
	ok(t, c.LoadRaw(id, flagInterpose, 0, specs))
	attached(t, c, id, false)
	_, err = c.Resume(id, 0, ioctl.Event{})
	ok(t, err)
	attached(t, c, id, true)

	want, got := bytes.Repeat([]byte{7}, 4096), make([]byte, 4096)
	ok(t, k.Write(no, 8*sectorSize, want))
	ok(t, k.Read(no, 8*sectorSize, got))
	if !bytes.Equal(got, want) {
		t.Error("what was written through the tracker did not arrive")
	}
	k.mu.Lock()
	if n := len(k.eras[ioctl.DevNo{Major: 252, Minor: 16}].written); n != 1 {
		t.Errorf("the tracker saw %d blocks written, 1 was", n)
	}
	k.mu.Unlock()

	second := ioctl.ID{Name: "second"}
	_, err = c.Create("second", "", 0, ioctl.DevNo{})
	ok(t, err)
	ok(t, c.LoadRaw(second, flagInterpose, 0, []ioctl.Spec{{Length: 4096, Type: "linear", Params: "[interpose]/dev/vda 0"}}))
	if _, err := c.Resume(second, 0, ioctl.Event{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("two attached to one device: %v", err)
	}
	for _, gone := range []ioctl.ID{second, id} {
		_, err = c.Remove(gone, 0, ioctl.Event{})
		ok(t, err)
	}
	ok(t, k.Read(no, 8*sectorSize, got))
	if !bytes.Equal(got, want) {
		t.Error("without the tracker the device reads differently")
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func attached(t *testing.T, c *ioctl.Control, id ioctl.ID, want bool) {
	t.Helper()
	_, echo, err := c.StatusRaw(id, 0)
	ok(t, err)
	if echo&flagInterpose != 0 != want {
		t.Errorf("attached: %v", !want)
	}
}
