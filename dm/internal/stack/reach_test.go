package stack_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

func TestAboveAndBeneath(t *testing.T) {
	h := newHost(t)
	upper := h.AddDM("upper", "", linear(h.home, 0))
	top := h.AddDM("top", "", ioctltest.Row{Length: 8, Type: "linear", Params: upper.String() + " 0"},
		ioctltest.Row{Start: 8, Length: 8, Type: "linear", Params: h.home.String() + " 0"})
	for name, row := range map[string]struct {
		f    func(targets.DevNo) ([]targets.DevNo, error)
		of   ioctl.DevNo
		want []ioctl.DevNo
	}{
		"above home":   {h.r.Above, h.home, []ioctl.DevNo{h.home, upper, top}},
		"above top":    {h.r.Above, top, []ioctl.DevNo{top}},
		"above disk":   {h.r.Above, disk(0), []ioctl.DevNo{disk(0), h.home, upper, top}},
		"beneath top":  {h.r.Beneath, top, []ioctl.DevNo{top, upper, h.home, disk(0)}},
		"beneath disk": {h.r.Beneath, disk(0), []ioctl.DevNo{disk(0)}},
	} {
		got, err := row.f(dev(row.of))
		check(t, err)
		var want []targets.DevNo
		for _, d := range row.want {
			want = append(want, dev(d))
		}
		if got[0] != want[0] || len(got) != len(want) || slices.ContainsFunc(want, func(d targets.DevNo) bool { return !slices.Contains(got, d) }) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := h.r.HolderNames(dev(h.home)); !slices.Equal(got, []string{"upper", "top"}) && !slices.Equal(got, []string{"top", "upper"}) {
		t.Errorf("holders: %v", got)
	}
	base := h.layer("vg-home")
	h.image("nightly", "vg-home", base, disk(1), 0)
	got, err := h.r.Above(dev(h.home)) // the image stands on the base
	if err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNode(t *testing.T) {
	h := newHost(t)
	for d, want := range map[targets.DevNo]string{
		dev(h.home): "/dev/mapper/vg-home", dev(disk(0)): "/dev/vda", {Major: 252, Minor: 17}: "/dev/vdb1", {Major: 9, Minor: 9}: "9:9",
	} {
		if got := h.r.Node(d); got != want {
			t.Errorf("%v: %s, not %s", d, got, want)
		}
	}
}

func TestOpenersAndUsers(t *testing.T) {
	h := newHost(t)
	h.Mount(h.home, "/home", "ext4")
	h.WriteFile("/home/file", "x")
	h.AddProcess(100, "dd", 0, "/dev/mapper/vg-home")
	h.AddProcess(101, "fsck", 0, "/dev/vda", "/dev/dm-0")
	h.AddProcess(102, "vi", 0, "/home/file")
	h.AddProcess(103, "bash", 0, "/home")
	h.AddProcess(104, "cat", 0, "/dev/null")
	openers := []stack.Process{{PID: 100, Command: "dd"}, {PID: 101, Command: "fsck"}}
	if diff := cmp.Diff(openers, h.r.Openers(dev(h.home))); diff != "" {
		t.Errorf("openers: %s", diff)
	}
	users := []stack.Process{{PID: 102, Command: "vi"}, {PID: 103, Command: "bash"}}
	if diff := cmp.Diff(users, h.r.Users(dev(h.home))); diff != "" {
		t.Errorf("users: %s", diff)
	}
	if got := h.r.Openers(dev(disk(2))); len(got) != 0 {
		t.Errorf("openers of an unused disk: %v", got)
	}
	if h.r.Command(102) != "vi" || h.r.Command(4000) != "" {
		t.Error("names of processes")
	}
}
