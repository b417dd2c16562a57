package ioctl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// TestKernelMany needs replies of more than the first buffer.
func TestKernelMany(t *testing.T) {
	_, c := guest(t)
	const n = 200
	long := strings.Repeat("x", 60)
	for i := range n {
		name := fmt.Sprintf("%smany-%03d-%s", mark, i, long)
		uuid := ""
		if i%2 == 0 {
			uuid = fmt.Sprintf("DMSNAP-ioctltest-%03d-%s", i, long)
		}
		_, err := c.Create(name, uuid, 0, ioctl.DevNo{})
		must(t, err)
	}
	all, err := c.List(ioctl.ID{})
	must(t, err)
	for _, prefix := range []struct {
		id   ioctl.ID
		want int
	}{
		{ioctl.ID{Name: mark + "many-"}, n},
		{ioctl.ID{Name: mark + "many-01"}, 10},
		{ioctl.ID{UUID: "DMSNAP-ioctltest-"}, n / 2},
		{ioctl.ID{Name: "no-such-prefix"}, 0},
	} {
		got, err := c.List(prefix.id)
		must(t, err)
		if len(got) != prefix.want {
			t.Errorf("%v: %d devices, want %d", prefix.id, len(got), prefix.want)
		}
		for _, e := range got {
			if !slices.Contains(all, e) {
				t.Errorf("%v is not in the full list", e)
			}
			info, err := c.Status(ioctl.ID{Dev: e.Dev})
			must(t, err)
			if info.Name != e.Name || info.UUID != e.UUID {
				t.Errorf("%v is %+v", e, info)
			}
		}
	}
	var table []ioctl.Spec
	for i := range uint64(2000) {
		table = append(table, ioctl.Spec{Start: i * 8, Length: 8, Type: []string{"zero", "error"}[i%2]})
	}
	id, _ := device(t, c, "table", table...)
	_, got, err := c.Table(id, 0)
	must(t, err)
	if !slices.Equal(got, table) {
		t.Errorf("%d targets back", len(got))
	}
	if _, got, err = c.TargetStatus(id, ioctl.NoFlush); err != nil || len(got) != len(table) {
		t.Errorf("status of %d targets, %v", len(got), err)
	}
}

func TestKernelMessage(t *testing.T) {
	_, c := guest(t)
	id := ioctl.ID{Name: mark + "message"}
	_, err := c.Create(id.Name, "", 0, ioctl.DevNo{})
	must(t, err)
	_, err = c.Message(id, 0, "hello") // kernel 6.1 returns 2 and no error
	mustFail(t, err, unix.EINVAL)
	must(t, c.Load(id, 0, []ioctl.Spec{zero(2048)}))
	_, err = c.Resume(id, 0, ioctl.Event{})
	must(t, err)
	_, err = c.Message(id, 0, "hello")
	mustFail(t, err, unix.EINVAL)
	reply, err := c.Message(id, 0, "@stats_create - /1")
	must(t, err)
	if reply != "0" {
		t.Errorf("reply %q", reply)
	}
	reply, err = c.Message(id, 0, "@stats_list")
	must(t, err)
	if !strings.HasPrefix(reply, "0: 0+2048 ") {
		t.Errorf("reply %q", reply)
	}
	reply, err = c.Message(id, 0, "@stats_delete 0")
	if err != nil || reply != "" {
		t.Errorf("reply %q, %v", reply, err)
	}
	must(t, c.SetGeometry(id, 16, 4, 32, 0))
}
