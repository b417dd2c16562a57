package dm

import (
	"context"
	"fmt"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// wide is a fake host with n more mounted origins, each with a disk for its
// store, and with foreign devices that have nothing to do with them.
func wide(t *testing.T, n, foreign int) (*host, CreateRequest) {
	t.Helper()
	h := newHost(t, ioctltest.Options{Udev: true})
	r := CreateRequest{Name: "nightly", Stores: map[string]string{}}
	for i := range n {
		origin, dir := ioctl.DevNo{Major: 8, Minor: uint32(16 * i)}, fmt.Sprintf("/srv/v%d", i)
		h.AddDisk(fmt.Sprintf("sd%d", i), origin, 16*mib)
		h.AddDisk(fmt.Sprintf("st%d", i), ioctl.DevNo{Major: 65, Minor: uint32(16 * i)}, 16*mib)
		dev := h.AddDM(fmt.Sprintf("v%d", i), "", ioctltest.Row{Length: 32768, Type: "linear", Params: origin.String() + " 0"})
		h.Mount(dev, dir, "ext4")
		r.Origins = append(r.Origins, dir)
		r.Stores[dir] = fmt.Sprintf("/dev/st%d", i)
	}
	for i := range foreign {
		h.AddDM(fmt.Sprintf("foreign%d", i), fmt.Sprintf("LVM-%d", i), ioctltest.Row{Length: 8, Type: "zero"})
	}
	return h, r
}

// calls counts the system calls of a create, of a list and of a remove, and the
// ioctls among them.
func calls(t *testing.T, volumes, foreign int) (all, ioctls [3]int) {
	t.Helper()
	h, r := wide(t, volumes, foreign)
	before := h.Calls()
	for i, do := range []func() error{
		func() error { _, err := h.m.Create(context.Background(), r); return err },
		func() error { _, err := h.m.List(context.Background()); return err },
		func() error { return h.m.Remove(context.Background(), RemoveRequest{Name: r.Name}) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		log := h.Log()
		for _, c := range log[before:] {
			if c.Op == "ioctl" {
				ioctls[i]++
			}
		}
		all[i] = len(log) - before
		before = len(log)
	}
	h.healthy(t)
	return all, ioctls
}

// TestCostIsLinear: each volume more costs as many system calls as the one
// before, and device-mapper devices of others cost none.
func TestCostIsLinear(t *testing.T) {
	hostOnly(t)
	one, oneI := calls(t, 1, 0)
	two, twoI := calls(t, 2, 0)
	eight, eightI := calls(t, 8, 0)
	crowded, crowdedI := calls(t, 2, 1000)
	t.Logf("system calls of create, list, remove: 1 volume %v, 2 volumes %v, 8 volumes %v; ioctls: %v, %v, %v", one, two, eight, oneI, twoI, eightI)
	for i, what := range []string{"create", "list", "remove"} {
		if more := eightI[i] - oneI[i]; more != 7*(twoI[i]-oneI[i]) {
			t.Errorf("%s: %d ioctls for one volume, %d for two, %d for eight", what, oneI[i], twoI[i], eightI[i])
		}
		if crowded[i] != two[i] || crowdedI[i] != twoI[i] {
			t.Errorf("%s beside 1000 devices of others: %d system calls, %d of them ioctls; alone %d and %d", what, crowded[i], crowdedI[i], two[i], twoI[i])
		}
	}
}
