package dm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func TestSetFromCutToRemoval(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		h := newHost(t, o)
		before := h.Snapshot()
		set := h.create(t, both())
		if set.State != StateActive || set.Receipt.Consistency != Filesystem || len(set.Volumes) != 2 {
			t.Fatalf("%+v", set)
		}
		if !slices.Equal(set.Receipt.Frozen, []string{"/home", "/var"}) {
			t.Errorf("frozen: %v", set.Receipt.Frozen)
		}
		for _, v := range set.Volumes {
			image := "dmsnap-nightly-" + v.Name
			if err := h.Protected(image); err != nil {
				t.Error(err)
			}
			if !h.CutClean(image) {
				t.Errorf("%s was cut while a filesystem was not frozen", image)
			}
		}
		if err := h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}); err != nil {
			t.Fatal(err)
		}
		same(t, "after removal", before, h.Snapshot())
		h.healthy(t)
	})
}

// TestImageKeepsThePast writes through the front and reads the image.
func TestImageKeepsThePast(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	old, fresh, got := make([]byte, 256<<10), make([]byte, 256<<10), make([]byte, 256<<10)
	fill(old, 1)
	fill(fresh, 2)
	check(t, h.Write(h.home, 4*mib, old))
	set := h.create(t, both())
	check(t, h.Write(h.home, 4*mib, fresh))
	image := set.Volumes[0].Devno
	check(t, h.Read(image, 4*mib, got))
	if !slices.Equal(got, old) {
		t.Error("the image does not hold what the origin had at the cut")
	}
	check(t, h.Read(h.home, 4*mib, got))
	if !slices.Equal(got, fresh) {
		t.Error("the origin does not hold what was written")
	}
}

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSetsOfOneOriginGoInAnyOrder keeps three sets on one origin and removes
// them in every order; those left stay protected.
func TestSetsOfOneOriginGoInAnyOrder(t *testing.T) {
	names := []string{"a", "b", "c"}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		h := newHost(t, ioctltest.Options{Udev: true})
		h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 16*mib)
		before := h.Snapshot()
		for i, store := range []string{"/dev/vdc", "/dev/vdd", "/dev/vde"} {
			h.create(t, CreateRequest{Name: names[i], Origins: []string{"/home"}, Stores: map[string]string{"": store}})
		}
		left := slices.Clone(names)
		for _, i := range order {
			check(t, h.m.Remove(context.Background(), RemoveRequest{Name: names[i]}))
			left = slices.DeleteFunc(left, func(n string) bool { return n == names[i] })
			for _, n := range left {
				if err := h.Protected("dmsnap-" + n + "-home"); err != nil {
					t.Errorf("order %v: %v", order, err)
				}
			}
		}
		same(t, "after all are gone", before, h.Snapshot())
		h.healthy(t)
	}
}

func TestBusyImageIsNamedAndKept(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	h.AddProcess(77, "backup", 0, "/dev/mapper/dmsnap-nightly-var")
	before := h.Snapshot()
	err := h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"})
	busy, ok := errors.AsType[*BusyError](err)
	if !errors.Is(err, ErrBusy) || !ok || len(busy.Holders) != 1 || busy.Holders[0].PID != 77 || busy.Holders[0].Command != "backup" {
		t.Errorf("got %v (%+v)", err, busy)
	}
	same(t, "after a refused removal", before, h.Snapshot())
}

func TestListWithoutRecords(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	before := h.Snapshot()
	nightly := h.create(t, both())
	check(t, h.m.state.DropSet("nightly", nightly.UUID))
	sets, err := h.m.List(context.Background())
	check(t, err)
	if len(sets) != 1 || sets[0].Name != "nightly" || sets[0].State != StateActive || sets[0].Created != nil || len(sets[0].Volumes) != 2 {
		t.Fatalf("%+v", sets)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	same(t, "after removal", before, h.Snapshot())
}

func TestStates(t *testing.T) {
	for want, spoil := range map[State]func(*host){
		StateInvalid:  func(h *host) { h.Invalidate("dmsnap-nightly-home") },
		StateBypassed: func(h *host) { h.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"}) },
		StateBroken:   func(h *host) { h.Reboot() },
	} {
		t.Run(string(want), func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			h.create(t, both())
			spoil(h)
			set, err := h.m.Show(context.Background(), "nightly")
			check(t, err)
			if set.State != want || set.Volumes[0].Reason == "" {
				t.Errorf("got %s because %q", set.State, set.Volumes[0].Reason)
			}
			if _, err := h.m.Mount(context.Background(), "nightly", "/mnt"); err == nil {
				t.Errorf("an image that is %s was mounted", want)
			}
			check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
			h.healthy(t)
		})
	}
}

// TestUdevWithoutRules: udev runs and does nothing for device-mapper. The window
// waits for it, not long, and then nobody does: an image gets the link that udev
// would have made, hidden devices a node, and all of them go.
func TestUdevWithoutRules(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true, NoRules: true})
	var log strings.Builder
	h.m.opts.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.m.opts.UdevTimeout = time.Hour // nothing may take that long
	before := h.Snapshot()
	set := h.create(t, both())
	if said := log.String(); !strings.Contains(said, "the window does not wait for udev") || strings.Contains(said, "did not confirm") {
		t.Errorf("not waited for before the window, or afterwards too:\n%s", said)
	}
	for _, v := range set.Volumes {
		link, err := h.Border().Readlink(v.Device)
		if err != nil || link != fmt.Sprintf("../dm-%d", v.Devno.Minor) {
			t.Errorf("%s is %s: %q, %v", v.Device, v.Devno, link, err)
		}
	}
	h.m.opts.UdevTimeout = time.Millisecond // until a link has gone there is a wait
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	same(t, "created and removed", before, h.Snapshot())
}
