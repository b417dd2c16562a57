package dm

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

func (h *host) createOnData() error {
	return h.createOnDataIn("/dev/vdc")
}

func (h *host) createOnDataIn(store string) error {
	_, err := h.m.Create(context.Background(), CreateRequest{
		Name: "nightly", Origins: []string{"/data"}, Stores: map[string]string{"": store}, StoreSize: Size{Bytes: mib},
	})
	return err
}

func (h *host) set(t *testing.T) *Set {
	t.Helper()
	set, err := h.m.Show(context.Background(), "nightly")
	check(t, err)
	return set
}

// TestPartitionFromCutToRemoval: a mounted partition is brought under
// device-mapper for as long as it has sets.
func TestPartitionFromCutToRemoval(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		h := newHost(t, o)
		before := h.Snapshot()
		check(t, h.createOnData())
		set := h.set(t)
		v := set.Volumes[0]
		if set.State != StateActive || set.Receipt.Consistency != Filesystem || v.Origin != "/dev/vdi1" || v.OriginDevno.String() != "252:129" {
			t.Errorf("%+v", set)
		}
		if err := h.Protected("dmsnap-nightly-vdi1"); err != nil {
			t.Error(err)
		}
		if !h.CutClean("dmsnap-nightly-vdi1") {
			t.Error("cut while the filesystem was not frozen")
		}
		image := v.Devno
		old, got := make([]byte, 256<<10), make([]byte, 256<<10)
		check(t, h.Read(image, mib, old))
		fresh := make([]byte, 256<<10)
		fill(fresh, 7)
		check(t, h.Write(h.data, mib, fresh))
		check(t, h.Read(image, mib, got))
		if !slices.Equal(got, old) {
			t.Error("the image changed with its origin")
		}
		check(t, h.Write(h.data, mib, old))
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		same(t, "after removal", before, h.Snapshot())
		h.healthy(t)
	})
}

// TestPartitionKeepsItsStore: one disk, one partition, nothing else.
func TestPartitionKeepsItsStore(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	before := h.Snapshot()
	check(t, h.createOnDataIn("file:/data/.cow"))
	if err := h.Protected("dmsnap-nightly-vdi1"); err != nil {
		t.Error(err)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	same(t, "after removal", before, h.Snapshot())
	h.healthy(t)
}

// TestNodesOfTheLayerGo: a tool that dies between the removal of the last device and
// the end leaves nodes of devices that are gone. Recover knows all of their names.
func TestNodesOfTheLayerGo(t *testing.T) {
	hostOnly(t)
	remove := func(h *host) error { return h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}) }
	detach := func(h *host) error { return h.m.Detach(context.Background(), "/data") }
	for name, do := range map[string]func(*host) error{"remove": remove, "detach": detach} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{})
			before := withoutLocks(h.Snapshot())
			if name == "remove" {
				check(t, h.createOnData())
			} else {
				_, err := h.m.Attach(context.Background(), "/data")
				check(t, err)
			}
			gone := false
			at, err := h.dieAt(func(c ioctltest.Call) bool {
				dead := gone
				gone = gone || c.Request == "DM_DEV_REMOVE" && strings.HasPrefix(c.Name, plan.BaseName(""))
				return dead
			}, do)
			if at == nil {
				t.Fatalf("it lived: %v", err)
			}
			h.Exit()
			recovered(t, h)
			same(t, "recovered", before, withoutLocks(h.Snapshot()))
		})
	}
}

// TestAttachmentOutlivesSets: what was asked for by itself stays until it is
// forgetIntent.
func TestAttachmentOutlivesSets(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	ctx, before := context.Background(), h.Snapshot()
	check(t, h.createOnData())
	h.attached(t, false) // for as long as it has sets
	check(t, h.m.Remove(ctx, RemoveRequest{Name: "nightly"}))
	a, err := h.m.Attach(ctx, "/data")
	check(t, err)
	h.attached(t, true)
	if a.Origin != "/dev/vdi1" || a.Front != "/dev/mapper/dmsnap-front-vdi1" || !slices.Equal(a.Mountpoints, []string{"/data"}) {
		t.Errorf("%+v", a)
	}
	attached := h.Snapshot()
	_, err = h.m.Attach(ctx, "/dev/vdi1")
	check(t, err)
	check(t, h.createOnData())
	if err := h.m.Detach(ctx, "/data"); !errors.Is(err, ErrBusy) {
		t.Errorf("detach below a set: %v", err)
	}
	check(t, h.m.Remove(ctx, RemoveRequest{Name: "nightly"}))
	_, err = h.m.Recover(ctx)
	check(t, err)
	same(t, "after the set", attached, h.Snapshot())
	h.attached(t, true)
	check(t, h.m.Detach(ctx, "/data"))
	h.attached(t, false)
	same(t, "after detach", before, h.Snapshot())
	if err := h.m.Detach(ctx, "/data"); !errors.Is(err, ErrNotFound) {
		t.Errorf("detach twice: %v", err)
	}
	if _, err := h.m.Attach(ctx, "/home"); !errors.Is(err, ErrUsage) {
		t.Errorf("attach a device-mapper device: %v", err)
	}
	h.healthy(t)
}

// attached looks at what doctor says of /data.
func (h *host) attached(t *testing.T, want bool) {
	t.Helper()
	r, err := h.m.Doctor(context.Background(), "/data")
	check(t, err)
	if o := r.Origins[0]; o.Attached != want || !o.Possible {
		t.Errorf("%+v", o)
	}
}

// TestGraphOfPartition: the layer stands on the partition, though nobody claims
// that.
func TestGraphOfPartition(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	check(t, h.createOnData())
	g, err := h.m.Graph(context.Background())
	check(t, err)
	roles := map[Role]GraphNode{}
	for _, n := range g.Nodes {
		roles[n.Role] = n
	}
	if base := roles["base"]; roles["front"].Name != "dmsnap-front-vdi1" || !slices.Contains(base.Lower, DevNo{Major: 252, Minor: 129}) {
		t.Errorf("%+v", g.Nodes)
	}
}

// TestLayersEndWithTheMachine: after a reboot nothing is attached, whatever the
// records say, and the set is not called good.
func TestLayersEndWithTheMachine(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	_, err := h.m.Attach(context.Background(), "/data")
	check(t, err)
	check(t, h.createOnData())
	record, err := h.Border().ReadFile("/state/sets/nightly.json")
	check(t, err)
	attached, err := h.Border().ReadFile("/state/attached/dmsnap-base-vdi1.json")
	check(t, err)

	fresh := newHost(t, ioctltest.Options{})
	fresh.WriteFile("/state/sets/nightly.json", string(record))
	fresh.WriteFile("/state/attached/dmsnap-base-vdi1.json", string(attached))
	if set := fresh.set(t); set.State != StateBroken {
		t.Errorf("after a reboot the set is %s", set.State)
	}
	check(t, fresh.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	_, err = fresh.m.Recover(context.Background())
	check(t, err)
	if err := fresh.m.Detach(context.Background(), "/data"); !errors.Is(err, ErrNotFound) {
		t.Errorf("detach: %v", err)
	}
	if names, err := fresh.Border().ReadDir("/state/attached"); err != nil || len(names) > 0 {
		t.Errorf("records left: %v, %v", names, err)
	}
}

// TestBypassedPartition: an image whose origin was written past the front is
// never called good.
func TestBypassedPartition(t *testing.T) {
	for name, bypass := range map[string]func(h *host) error{
		"another name": func(h *host) error { h.Bypass("dmsnap-base-vdi1"); return nil },
		"redirect ended": func(h *host) error {
			c, err := h.Border().OpenControl()
			if err != nil {
				return err
			}
			_, err = c.Message(ioctl.ID{Name: "dmsnap-base-vdi1"}, 0, "detach")
			return errors.Join(err, c.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{})
			before := h.Snapshot()
			check(t, h.createOnData())
			check(t, bypass(h))
			set := h.set(t)
			if set.State != StateBypassed || set.Volumes[0].Reason == "" {
				t.Errorf("%+v", set)
			}
			_, err := h.m.Create(context.Background(), CreateRequest{Name: "next", Origins: []string{"/data"}, Stores: map[string]string{"": "/dev/vdd"}})
			if !errors.Is(err, ErrBusy) {
				t.Errorf("cut on a bypassed layer: %v", err)
			}
			check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
			same(t, "after removal", before, h.Snapshot())
		})
	}
}

// TestProvedBeforeEachCut: writes pass the front, and nothing counts them. The next cut finds out, and no
// image is called good any more.
func TestProvedBeforeEachCut(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	before := h.Snapshot()
	check(t, h.createOnData())
	h.Mislead("dmsnap-base-vdi1")
	if set := h.set(t); set.State != StateActive {
		t.Errorf("nobody has looked yet: %s", set.State)
	}
	_, err := h.m.Create(context.Background(), CreateRequest{Name: "next", Origins: []string{"/data"}, Stores: map[string]string{"": "/dev/vdd"}})
	if !errors.Is(err, ErrBusy) || !errors.Is(err, unix.ENOLINK) {
		t.Errorf("cut: %v", err)
	}
	if set := h.set(t); set.State != StateBypassed {
		t.Errorf("the set is %s", set.State)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	same(t, "after removal", before, h.Snapshot())
}

// TestRefusedByTheModule: the proof of a redirect fails, or users of the device would lose what it can do.
func TestRefusedByTheModule(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOLINK, unix.EOPNOTSUPP} {
		h := newHost(t, ioctltest.Options{})
		before := h.Snapshot()
		var once sync.Once
		h.Fail(func(c ioctltest.Call) (err error) {
			if c.Request == "DM_TARGET_MSG" {
				once.Do(func() { err = errno })
			}
			return err
		})
		err := h.createOnData()
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUnsupported || !errors.Is(err, errno) || !strings.Contains(e.Hint, "adopts it") {
			t.Errorf("%v: %v", errno, err)
		}
		h.Fail(nil)
		same(t, errno.Error(), before, h.Snapshot())
	}
}

// TestDetachThatEndsByItself: a killed detach goes on in the kernel, and may have ended when the next one gets there.
func TestDetachThatEndsByItself(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, ioctltest.Options{})
	before := h.Snapshot()
	_, err := h.m.Attach(ctx, "/data")
	check(t, err)
	var once sync.Once
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_TARGET_MSG" {
			once.Do(func() { h.EndRedirect("dmsnap-base-vdi1") })
		}
		return nil
	})
	check(t, h.m.Detach(ctx, "/data"))
	h.Fail(nil)
	same(t, "after detach", before, h.Snapshot())
}

// TestUnpluggedPartition: the disk is pulled. The set says so, and goes with its layer.
func TestUnpluggedPartition(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	before := h.Snapshot()
	check(t, h.createOnData())
	h.Unplug("dmsnap-base-vdi1")
	if set := h.set(t); set.State != StateBroken || !strings.Contains(set.Volumes[0].Reason, "removed from this machine") {
		t.Errorf("%s: %s", set.State, set.Volumes[0].Reason)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	same(t, "after removal", before, h.Snapshot())
}

// TestAdopted: without the module a partition that nobody uses is put beneath a
// device, and that is an origin like others.
func TestAdopted(t *testing.T) {
	ctx := context.Background()
	for _, udev := range []bool{true, false} {
		h := newBareHost(t, ioctltest.Options{Udev: udev})
		before := h.Snapshot()
		a, err := h.m.Attach(ctx, h.plain)
		check(t, err)
		if a.Redirector != "adopted" || a.Front != "/dev/mapper/adopted-vdi1" || a.Origin != "/dev/vdi1" || a.OriginDevno.String() != "252:129" {
			t.Errorf("%+v", a)
		}
		if link := "/mapper/adopted-vdi1 0120777"; strings.Contains(h.Snapshot(), link) != udev { // udev works on it as on any disk
			t.Errorf("udev %v: %s", udev, lineOf(h.Snapshot(), "/mapper/adopted-vdi1"))
		}
		front, err := h.Border().Stat(a.Front)
		check(t, err)
		h.Mount(front.Rdev, "/data", "ext4")
		again, err := h.m.Attach(ctx, "/data")
		check(t, err)
		if a.Mountpoints = []string{"/data"}; !reflect.DeepEqual(a, again) {
			t.Errorf("again: %+v, not %+v", again, a)
		}
		check(t, h.createOnData())
		if v := h.set(t).Volumes[0]; v.Name != "adopted-vdi1" || !h.CutClean("dmsnap-nightly-adopted-vdi1") {
			t.Errorf("%+v", v)
		}
		if err := h.Protected("dmsnap-nightly-adopted-vdi1"); err != nil {
			t.Error(err)
		}
		again, err = h.m.Attach(ctx, "/data")
		check(t, err)
		if !reflect.DeepEqual(a, again) {
			t.Errorf("with a set: %+v, not %+v", again, a)
		}
		refused := func(why string) {
			t.Helper()
			if err := h.m.Detach(ctx, h.plain); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), why) {
				t.Errorf("detach: %v, want %q", err, why)
			}
		}
		refused("has sets")
		check(t, h.m.Remove(ctx, RemoveRequest{Name: "nightly"}))
		_, err = h.m.Recover(ctx)
		check(t, err)
		refused("is mounted on /data")
		check(t, h.Border().Unmount("/data", 0))
		check(t, h.m.Detach(ctx, h.plain))
		same(t, "given back", before, h.Snapshot())
		if err := h.m.Detach(ctx, h.plain); !errors.Is(err, ErrNotFound) {
			t.Errorf("again: %v", err)
		}
	}
}

// TestAdoptsNothingInUse: what has partitions, or a holder of any kind, stays what
// it is.
func TestAdoptsNothingInUse(t *testing.T) {
	h := newBareHost(t, ioctltest.Options{Udev: true})
	swap, err := h.Border().Open("/dev/vdi1", unix.O_RDONLY|unix.O_EXCL, 0)
	check(t, err)
	before := h.Snapshot()
	for dev, want := range map[string]error{"/dev/vdi1": ErrBusy, "/dev/vdi": ErrUnsupported, "/dev/vda": ErrUnsupported} {
		if _, err := h.m.Attach(context.Background(), dev); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", dev, err, want)
		}
	}
	same(t, "refused", before, h.Snapshot())
	check(t, swap.Close())
}

// TestAdoptedIsNotOurs to resume: somebody else suspended it.
func TestAdoptedIsNotOurs(t *testing.T) {
	h := newBareHost(t, ioctltest.Options{Udev: true})
	a, err := h.m.Attach(context.Background(), h.plain)
	check(t, err)
	h.Suspend(strings.TrimPrefix(a.Front, "/dev/mapper/"), true)
	before := withoutLocks(h.Snapshot())
	_, err = h.m.Thaw(context.Background(), false)
	check(t, err)
	_, err = h.m.Recover(context.Background())
	check(t, err)
	same(t, "after thaw and recover", before, withoutLocks(h.Snapshot()))
}

// TestWithoutTheModule says what would make a cut possible.
func TestWithoutTheModule(t *testing.T) {
	k := ioctltest.New(ioctltest.Options{})
	k.AddDisk("vda", ioctl.DevNo{Major: 252}, 16*mib, ioctltest.Partition(1, mib, 8*mib))
	k.Mount(ioctl.DevNo{Major: 252, Minor: 1}, "/data", "ext4")
	m := New(Options{Kernel: k.Border(), StateDir: "/state", NoGuard: true})
	_, err := m.Attach(context.Background(), "/data")
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(FailureOf(err).Hint, "dmsnap attach") {
		t.Errorf("%v", err)
	}
}
