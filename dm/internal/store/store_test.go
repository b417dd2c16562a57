package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

const mib = 1 << 20

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func disk(n uint32) ioctl.DevNo { return ioctl.DevNo{Major: 252, Minor: 16 * n} }

func linear(d ioctl.DevNo) ioctltest.Row {
	return ioctltest.Row{Length: 16384, Type: "linear", Params: d.String() + " 0"}
}

// host has the origins vg-home and vg-var on vda, and vdb to vdd for stores. A set
// "other" of vg-var keeps its chunks on vdd.
type host struct {
	*ioctltest.Kernel
	r    *stack.Reader
	home ioctl.DevNo
}

func newHost(t *testing.T) *host {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{Udev: true})
	for i, name := range []string{"vda", "vdb", "vdc", "vdd"} {
		k.AddDisk(name, disk(uint32(i)), 32*mib)
	}
	ctl, err := k.Border().OpenControl()
	check(t, err)
	h := &host{Kernel: k, r: &stack.Reader{Kernel: k.Border(), Control: ctl}}
	h.home = k.AddDM("vg-home", "LVM-home", linear(disk(0)))
	k.AddDM("vg-var", "LVM-var", linear(disk(0)))
	base := k.AddDM("dmsnap-base-vg-var", "DMSNAP-ba5e-base", linear(disk(0)))
	k.Reload("vg-var", ioctltest.Row{Length: 8192, Type: "snapshot-origin", Params: base.String()})
	s := k.AddDM("dmsnap-store-other-vg-var", "DMSNAP-07e4.0-store", linear(disk(3)))
	k.AddDM("dmsnap-other-vg-var", "DMSNAP-07e4.0-image", ioctltest.Row{Length: 8192, Type: "snapshot", Params: fmt.Sprintf("%s %s N 8", base, s)})
	return h
}

// inspect looks a store for vg-home up. It must leave everything as it is.
func (h *host) inspect(t *testing.T, spec string) (plan.Store, error) {
	t.Helper()
	kind, err := store.Parse(spec)
	check(t, err)
	ours, err := h.r.Look()
	check(t, err)
	o, err := h.r.Origin("/dev/mapper/vg-home", h.home, ours)
	check(t, err)
	before := h.Snapshot()
	s, err := kind.Inspect(&store.Host{Read: h.r, Ours: ours, Origins: []plan.Origin{o}}, o)
	if diff := cmp.Diff(before, h.Snapshot()); diff != "" {
		t.Errorf("looking at %s changed\n%s", spec, diff)
	}
	if hangs := h.Hangs(); len(hangs) > 0 {
		t.Errorf("on a real kernel this hangs: %v", hangs)
	}
	return s, err
}

func refused(t *testing.T, err error, kind plan.Kind, device, says string) {
	t.Helper()
	r, ok := errors.AsType[*plan.Refusal](err)
	if !ok || r.Kind != kind || r.Device != device || r.Hint == "" || !strings.Contains(r.Why, says) {
		t.Errorf("%v (%+v), not a refusal by %s of %q for %q", err, r, kind, device, says)
	}
}

func TestParse(t *testing.T) {
	for spec, row := range map[string]struct {
		kind   plan.Kind
		device string
		says   string
	}{
		"file":         {plan.Usage, "file", "neither a device path nor"},
		"file:x":       {plan.Usage, "file:x", "neither a device path nor"},
		"ram:":         {plan.Usage, "ram:", "empty size"},
		"ram:1024":     {plan.Usage, "ram:1024", "no unit"},
		"vdc":          {plan.Usage, "vdc", "neither a device path nor"},
		"dev/vdc":      {plan.Usage, "dev/vdc", "neither a device path nor"},
		"UUID=x":       {plan.Usage, "UUID=x", "neither a device path nor"},
		"device:/dev/": {plan.Usage, "device:/dev/", "neither a device path nor"},
	} {
		kind, err := store.Parse(spec)
		if kind != nil {
			t.Errorf("%q is a store", spec)
		}
		refused(t, err, row.kind, row.device, row.says)
	}
}

func TestInspect(t *testing.T) {
	h := newHost(t)
	h.AddDisk("vde", disk(4), 16*mib, ioctltest.Sectors(4096, 4096), ioctltest.Partition(1, mib, 4*mib))
	lv := h.AddDM("vg-free", "LVM-free", linear(disk(2)))
	h.Symlink("../../vdb", "/dev/disk/by-id/b")
	for spec, want := range map[string]plan.Store{
		"/dev/vdb":            {Dev: disk(1), Size: 30 * mib / 512, LogicalBlock: 512},
		"/dev/disk/by-id/b":   {Dev: disk(1), Size: 30 * mib / 512, LogicalBlock: 512},
		"/dev/vde1":           {Dev: targets.DevNo{Major: 252, Minor: 65}, Size: 2 * mib / 512, LogicalBlock: 4096},
		"/dev/mapper/vg-free": {Dev: lv, Size: 12288, LogicalBlock: 512},
	} {
		want.Kind, want.Path = "device", spec
		got, err := h.inspect(t, spec)
		if len(got.Beneath) == 0 || got.Beneath[0] != want.Dev {
			t.Errorf("%s stands on %v, first of all itself", spec, got.Beneath)
		}
		got.Beneath = nil
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}

func TestInspectRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		prepare func(h *host)
		spec    string
		kind    plan.Kind
		says    string
	}{
		"not there":      {nil, "/dev/vdz", plan.NotFound, "does not exist"},
		"directory":      {nil, "/dev/mapper", plan.Usage, "is a directory"},
		"file":           {func(h *host) { h.WriteFile("/store", "") }, "/store", plan.Usage, "neither a block device"},
		"origin":         {nil, "/dev/mapper/vg-home", plan.Usage, "is the origin itself"},
		"origin by link": {func(h *host) { h.Symlink("../dm-0", "/dev/vg/home") }, "/dev/vg/home", plan.Usage, "is the origin itself"},
		"our base":       {nil, "/dev/mapper/dmsnap-base-vg-var", plan.Usage, "dmsnap's own base device"},
		"our store":      {nil, "/dev/mapper/dmsnap-store-other-vg-var", plan.Usage, "dmsnap's own store device"},
		"our image":      {nil, "/dev/mapper/dmsnap-other-vg-var", plan.Usage, "dmsnap's own image device"},
		"another set's":  {nil, "/dev/vdd", plan.Busy, "already used by dmsnap-store-other-vg-var"},
		"stands on the origin": {
			func(h *host) { h.AddDM("middle", "", linear(h.home)); h.AddDM("top", "", linear(h.no("middle"))) },
			"/dev/mapper/top", plan.Usage, "is on the origin",
		},
		"read-only": {
			func(h *host) { h.AddDisk("vde", disk(4), mib, ioctltest.ReadOnly()) }, "/dev/vde", plan.Usage, "read-only",
		},
		"ext4":      {func(h *host) { h.write(disk(1), 1024+56, "\x53\xef") }, "/dev/vdb", plan.Usage, "signature of ext2"},
		"xfs":       {func(h *host) { h.write(disk(1), 0, "XFSB") }, "/dev/vdb", plan.Usage, "signature of xfs"},
		"lvm":       {func(h *host) { h.write(disk(1), 536, "LVM2 001") }, "/dev/vdb", plan.Usage, "signature of LVM2_member"},
		"old store": {func(h *host) { h.write(disk(1), 0, "SnAp") }, "/dev/vdb", plan.Usage, "signature of DM_snapshot_cow"},
		"suspended": {
			func(h *host) { h.AddDM("vg-free", "", linear(disk(2))); h.Suspend("vg-free", true) }, "/dev/mapper/vg-free", plan.Busy, "vg-free is suspended",
		},
		"suspended beneath": {
			func(h *host) {
				h.AddDM("vg-free", "", linear(disk(2)))
				h.AddDM("top", "", linear(h.no("vg-free")))
				h.Suspend("vg-free", true)
			},
			"/dev/mapper/top", plan.Busy, "/dev/mapper/vg-free is suspended",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			if row.prepare != nil {
				row.prepare(h)
			}
			_, err := h.inspect(t, row.spec)
			refused(t, err, row.kind, row.spec, row.says)
		})
	}
}

func (h *host) no(name string) ioctl.DevNo {
	i, err := h.r.Control.Status(ioctl.ID{Name: name})
	if err != nil {
		panic(err)
	}
	return i.Dev
}

func (h *host) write(d ioctl.DevNo, at uint64, text string) {
	if err := h.Write(d, at, []byte(text)); err != nil {
		panic(err)
	}
}

// TestInspectInUse: the kernel knows who claims a device, and says so.
func TestInspectInUse(t *testing.T) {
	for name, prepare := range map[string]func(h *host){
		"mounted":             func(h *host) { h.Mount(disk(1), "/mnt", "ext4") },
		"under device-mapper": func(h *host) { h.AddDM("vg-x", "", linear(disk(1))) },
		"opened exclusively": func(h *host) {
			_, err := h.Border().Open("/dev/vdb", unix.O_RDONLY|unix.O_EXCL, 0)
			if err != nil {
				panic(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			prepare(h)
			_, err := h.inspect(t, "/dev/vdb")
			u, ok := errors.AsType[*store.InUseError](err)
			if !ok || u.Path != "/dev/vdb" || u.Dev != disk(1) || !strings.Contains(err.Error(), "/dev/vdb") {
				t.Error(err)
			}
		})
	}
	h := newHost(t)
	h.AddDisk("vde", disk(4), 16*mib, ioctltest.Partition(1, mib, 4*mib))
	h.Mount(ioctl.DevNo{Major: 252, Minor: 65}, "/mnt", "ext4")
	_, err := h.inspect(t, "/dev/vde") // a partition of it is mounted
	if _, ok := errors.AsType[*store.InUseError](err); !ok {
		t.Error(err)
	}
	h = newHost(t)
	defer h.Hold(disk(1))() // udev looks at it: no claim
	if _, err := h.inspect(t, "/dev/vdb"); err != nil {
		t.Error(err)
	}
}

// TestInspectFails every call in turn: the error is passed on, nothing stays open.
func TestInspectFails(t *testing.T) {
	for n := 1; ; n++ {
		h := newHost(t)
		kind, err := store.Parse("/dev/vdb")
		check(t, err)
		before, first := h.Snapshot(), h.Calls()+n
		failed := ""
		h.Fail(func(c ioctltest.Call) error {
			if c.N != first {
				return nil
			}
			failed = c.String()
			return unix.EIO
		})
		_, err = kind.Inspect(&store.Host{Read: h.r, Ours: &stack.View{}}, plan.Origin{Dev: h.home})
		h.Fail(nil)
		if failed == "" {
			check(t, err)
			return
		}
		if !errors.Is(err, unix.EIO) && !strings.Contains(failed, "close") {
			t.Errorf("%s fails: %v", failed, err)
		}
		if diff := cmp.Diff(before, h.Snapshot()); diff != "" {
			t.Errorf("%s fails: %s", failed, diff)
		}
	}
}
