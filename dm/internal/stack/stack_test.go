package stack_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

func TestOriginWithoutLayer(t *testing.T) {
	h := newHost(t)
	crypt := h.AddDM("crypt", "CRYPT-x", linear(h.home, 0))
	got, err := h.r.Origin("/home", dev(h.home), &stack.View{})
	check(t, err)
	want := plan.Origin{
		Spec: "/home", Path: "/dev/mapper/vg-home", Volume: "vg-home", Dev: dev(h.home), Name: "vg-home", UUID: "LVM-home",
		Table: targets.Table{{Length: sectors, Target: targets.Linear{Dev: targets.Numbered(252, 0)}}},
		Size:  sectors, LogicalBlock: 512, Depth: 1, Beneath: []targets.DevNo{dev(h.home), dev(disk(0))},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = h.r.Origin("crypt", dev(crypt), &stack.View{})
	check(t, err)
	if got.Depth != 2 || got.Name != "crypt" {
		t.Errorf("%+v", got)
	}
}

// TestDepth is the longest way down.
func TestDepth(t *testing.T) {
	h := newHost(t)
	both := h.AddDM("both", "", ioctltest.Row{Length: 8, Type: "linear", Params: h.home.String() + " 0"},
		ioctltest.Row{Start: 8, Length: 8, Type: "linear", Params: disk(1).String() + " 0"})
	got, err := h.r.Origin("x", dev(both), &stack.View{})
	if err != nil || got.Depth != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOriginState(t *testing.T) {
	h := newHost(t)
	h.Suspend("vg-home", true)
	h.load(t, "vg-home", linear(disk(0), 8))
	got, err := h.r.Origin("x", dev(h.home), &stack.View{})
	check(t, err)
	h.Suspend("vg-home", false)
	if !got.Suspended || !got.InactiveLoaded {
		t.Errorf("%+v", got)
	}
	same := h.AddDM("same", "", ioctltest.Row{Length: 8, Type: "zero"})
	h.load(t, "same", ioctltest.Row{Length: 8, Type: "zero"}) // as an undo of ours that died
	if got, err = h.r.Origin("x", dev(same), &stack.View{}); err != nil || got.InactiveLoaded {
		t.Errorf("%+v, %v", got, err)
	}
	large := h.AddDM("my vol", "", ioctltest.Row{Length: 8192, Type: "zero"})
	got, err = h.r.Origin("x", dev(large), &stack.View{})
	check(t, err)
	if got.Name != "my vol" || got.Volume != plan.VolumeName("my vol") || got.Depth != 0 || got.Suspended || got.InactiveLoaded || got.UUID != "" {
		t.Errorf("%+v", got)
	}
}

func TestOriginPlain(t *testing.T) {
	h := newHost(t)
	got, err := h.r.Origin("/dev/vdd", dev(disk(3)), &stack.View{})
	check(t, err)
	want := plan.Origin{
		Spec: "/dev/vdd", Path: "/dev/vdd", Volume: "vdd", Plain: &plan.Plain{Holders: []string{}}, Dev: dev(disk(3)), Size: 64 * mib / 512, LogicalBlock: 4096, ReadOnly: true,
		Beneath: []targets.DevNo{dev(disk(3))},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = h.r.Origin("/dev/vdb2", targets.DevNo{Major: 252, Minor: 18}, &stack.View{})
	if err != nil || got.Path != "/dev/vdb2" || got.Size != 8*mib/512 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := h.r.Origin("gone", targets.DevNo{Major: 252, Minor: 99}, &stack.View{}); err == nil {
		t.Error("a device that does not exist has facts")
	}
}

// TestOriginWithLayer: the origin's own table is the base's.
func TestOriginWithLayer(t *testing.T) {
	h := newHost(t)
	base := h.layer("vg-home")
	h.image("nightly", "vg-home", base, disk(1), 0)
	h.image("weekly", "vg-home", base, disk(1), 8192)
	got, err := h.r.Origin("/home", dev(h.home), h.ours(t))
	check(t, err)
	want := &plan.Base{
		Name: "dmsnap-base-vg-home", UUID: "DMSNAP-ba5evg-home-base", Dev: dev(base), Fronted: true,
		Table:  targets.Table{{Length: sectors, Target: targets.Linear{Dev: targets.Numbered(252, 0)}}},
		Images: []string{"dmsnap-nightly-vg-home", "dmsnap-weekly-vg-home"},
	}
	if older := got.Base.Older; len(older) != 2 || older[0].Name != got.Base.Images[0] || older[0].Role != plan.RoleImage || older[0].Apart() == "" {
		t.Errorf("%+v", older)
	}
	got.Base.Older = nil
	slices.Sort(got.Base.Images)
	if diff := cmp.Diff(want, got.Base); diff != "" || got.Depth != 2 || got.Role != "" || got.StoreOf != "" {
		t.Errorf("%+v\n%s", got, diff)
	}

	h.Reload("vg-home", linear(disk(0), 0)) // somebody takes our layer out
	got, err = h.r.Origin("/home", dev(h.home), h.ours(t))
	check(t, err)
	if got.Base == nil || got.Base.Fronted || len(got.Base.Images) != 2 {
		t.Errorf("bypassed: %+v", got.Base)
	}
}

// TestOriginRenamed: the layer is found by the table, not by the name.
func TestOriginRenamed(t *testing.T) {
	h := newHost(t)
	base := h.layer("vg-home")
	_, err := h.r.Control.Rename("vg-home", "vg-old", ioctl.Event{})
	check(t, err)
	got, err := h.r.Origin("x", dev(h.home), h.ours(t))
	check(t, err)
	if got.Name != "vg-old" || got.Base == nil || !got.Base.Fronted || got.Base.Dev != dev(base) {
		t.Errorf("%+v", got)
	}
}

// TestOriginRenamedOverAnother: a base of the same name that leads elsewhere does
// not hide the one the table names.
func TestOriginRenamedOverAnother(t *testing.T) {
	h := newHost(t)
	h.AddDM("vg-b", "LVM-b", linear(disk(0), 0))
	a, b := h.layer("vg-home"), h.layer("vg-b")
	for _, r := range [][2]string{{"vg-home", "x"}, {"vg-b", "vg-home"}, {"x", "vg-b"}} {
		_, err := h.r.Control.Rename(r[0], r[1], ioctl.Event{})
		check(t, err)
	}
	got, err := h.r.Origin("x", dev(h.home), h.ours(t)) // now vg-b
	check(t, err)
	if got.Base == nil || !got.Base.Fronted || got.Base.Dev != dev(a) {
		t.Errorf("%s has base %+v, not %v", got.Name, got.Base, a)
	}
	other, err := h.r.Control.Status(ioctl.ID{Name: "vg-home"})
	check(t, err)
	got, err = h.r.Origin("x", dev(other.Dev), h.ours(t))
	check(t, err)
	if got.Base == nil || !got.Base.Fronted || got.Base.Dev != dev(b) {
		t.Errorf("%s has base %+v, not %v", got.Name, got.Base, b)
	}
}

func TestOriginIsOurs(t *testing.T) {
	h := newHost(t)
	base := h.layer("vg-home")
	image := h.image("nightly", "vg-home", base, disk(1), 0)
	h.AddDM("dmsnap-base-crypt", "DMSNAP-ba5ecrypt-base", linear(h.home, 0)) // stands on an origin, as stores do
	lv := h.AddDM("vg-store", "", linear(disk(2), 0))
	h.image("weekly", "vg-home", base, lv, 0)
	for d, role := range map[ioctl.DevNo]plan.Role{base: plan.RoleBase, image: plan.RoleImage} {
		got, err := h.r.Origin("x", dev(d), h.ours(t))
		if err != nil || got.Role != role {
			t.Errorf("%s: %+v, %v", role, got, err)
		}
	}
	got, err := h.r.Origin("x", dev(h.home), h.ours(t))
	if err != nil || got.StoreOf != "" {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = h.r.Origin("x", dev(lv), h.ours(t))
	if err != nil || got.StoreOf != "dmsnap-weekly-vg-home" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOurs(t *testing.T) {
	h := newHost(t)
	if ours := slices.Collect(h.ours(t).Devices()); len(ours) != 0 {
		t.Errorf("%+v", ours)
	}
	base := h.layer("vg-home")
	image := h.image("nightly", "vg-home", base, disk(1), 0)
	h.AddDM("dmsnap-lookalike", "LVM-x", ioctltest.Row{Length: 8, Type: "zero"})
	h.AddDM("stranger", "DMSNAP-x-cow", ioctltest.Row{Length: 8, Type: "zero"})
	_, err := h.r.Control.Create("dmsnap-half", "DMSNAP-half.3-image", 0, ioctl.DevNo{})
	check(t, err)
	_, err = h.r.Control.Create("dmsnap-loaded", "DMSNAP-half.4-image", 0, ioctl.DevNo{})
	check(t, err)
	store, err := h.r.Control.Status(ioctl.ID{Name: "dmsnap-store-nightly-vg-home"})
	check(t, err)
	h.load(t, "dmsnap-loaded", ioctltest.Row{Length: sectors, Type: "snapshot", Params: base.String() + " " + store.Dev.String() + " N 128"})

	got := map[string]stack.Device{}
	for d := range h.ours(t).Devices() {
		got[d.Name] = d
	}
	if len(got) != 5 {
		t.Fatalf("%+v", got)
	}
	i := got["dmsnap-nightly-vg-home"]
	lower, ok := i.Lower()
	if i.Dev != dev(image) || i.ID != "nightly" || i.Volume != 0 || i.Role != plan.RoleImage || !ok || lower != dev(base) || i.Status.State != targets.Active || i.Status.Total != 8192 {
		t.Errorf("%+v", i)
	}
	if b := got["dmsnap-base-vg-home"]; b.Volume != -1 || b.Role != plan.RoleBase || b.ID != "ba5evg-home" {
		t.Errorf("%+v", b)
	}
	if half := got["dmsnap-half"]; len(half.Table) != 0 || half.Volume != 3 || half.Info.Live {
		t.Errorf("%+v", half)
	}
	if _, ok := got["dmsnap-half"].Lower(); ok {
		t.Error("a device without a table stands on something")
	}
	loaded := got["dmsnap-loaded"]
	if lower, ok := loaded.Lower(); !ok || lower != dev(base) || loaded.Info.Live || loaded.Status != (targets.SnapshotStatus{}) {
		t.Errorf("%+v", loaded)
	}
	h.Invalidate("dmsnap-nightly-vg-home")
	for d := range h.ours(t).Devices() {
		if d.Name == "dmsnap-nightly-vg-home" && d.Status.State != targets.Invalid {
			t.Errorf("%+v", d.Status)
		}
	}
}

// TestOursSkipsTheGone: a device may go between the list and its table.
func TestOursSkipsTheGone(t *testing.T) {
	h := newHost(t)
	h.layer("vg-home")
	h.AddDM("dmsnap-x", "DMSNAP-x.0-image", ioctltest.Row{Length: 8, Type: "zero"})
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_TABLE_STATUS" && c.Name == "dmsnap-x" {
			return unix.ENXIO
		}
		return nil
	})
	if ours := slices.Collect(h.ours(t).Devices()); len(ours) != 1 || ours[0].Role != plan.RoleBase {
		t.Errorf("%+v", ours)
	}
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_TABLE_STATUS" {
			return unix.EIO
		}
		return nil
	})
	if _, err := h.r.Look(); err == nil {
		t.Error("an error of the kernel is passed over")
	}
}

func TestFront(t *testing.T) {
	h := newHost(t)
	base := h.AddDM("dmsnap-base-vg-home", "DMSNAP-ba5e-base", linear(disk(0), 0))
	front := func(wantLive, wantPending string) {
		t.Helper()
		live, pending, err := h.r.Front(dev(base))
		check(t, err)
		if l, p := name(live), name(pending); l != wantLive || p != wantPending {
			t.Errorf("live %q, pending %q; want %q, %q", l, p, wantLive, wantPending)
		}
	}
	front("", "")
	h.load(t, "vg-home", originOf(base))
	front("", "vg-home")
	h.Reload("vg-home", originOf(base))
	front("vg-home", "")
	h.image("nightly", "vg-home", base, disk(1), 0) // holds the base too, and is no front
	front("vg-home", "")
	h.load(t, "vg-home", linear(disk(0), 0)) // a removal under way
	front("vg-home", "")
	h.Reload("vg-home", linear(disk(0), 0))
	front("", "")
	h.Reload("vg-home", linear(base, 0)) // stands on the base, without a snapshot-origin
	front("", "")
}

func name(i *ioctl.Info) string {
	if i == nil {
		return ""
	}
	return i.Name
}

func TestLeadsTo(t *testing.T) {
	base := targets.DevNo{Major: 254, Minor: 7}
	row := targets.Row{Length: 8, Target: targets.Origin{Dev: targets.Device{DevNo: base}}}
	for name, table := range map[string]targets.Table{
		"none":       nil,
		"elsewhere":  {{Length: 8, Target: targets.Origin{Dev: targets.Numbered(254, 8)}}},
		"linear":     {{Length: 8, Target: targets.Linear{Dev: targets.Device{DevNo: base}}}},
		"a path":     {{Length: 8, Target: targets.Origin{Dev: targets.Device{Path: "/dev/dm-7"}}}},
		"two":        {row, {Start: 8, Length: 8, Target: row.Target}},
		"unnumbered": {{Length: 8, Target: targets.Origin{Dev: targets.Device{Path: "x", DevNo: base}}}},
	} {
		if stack.LeadsTo(table, base) {
			t.Errorf("%s leads to the base", name)
		}
	}
	if !stack.LeadsTo(targets.Table{row}, base) {
		t.Error("the front does not lead to the base")
	}
}

// TestReadingChangesNothing, and leaves no descriptor behind.
func TestReadingChangesNothing(t *testing.T) {
	h := newHost(t)
	h.Mount(h.home, "/home", "ext4")
	base := h.layer("vg-home")
	h.image("nightly", "vg-home", base, disk(1), 0)
	before := h.Snapshot()
	read := func() {
		_, _ = h.r.Origin("/home", dev(h.home), &stack.View{})
		_, _ = h.r.Look()
		_, _, _ = h.r.Front(dev(base))
		_, _ = h.r.Above(dev(h.home))
		_, _ = h.r.Beneath(dev(h.home))
		_ = h.r.Openers(dev(h.home))
		_ = h.r.Users(dev(h.home))
		_, _ = h.r.Resolve("/home", mounts{"/home": h.home})
	}
	first := h.Calls()
	read()
	for n := range h.Calls() - first {
		fail := h.Calls() + n + 1
		h.Fail(func(c ioctltest.Call) error {
			if c.N == fail {
				return unix.EIO
			}
			return nil
		})
		read()
		h.Fail(nil)
		if diff := cmp.Diff(before, h.Snapshot()); diff != "" {
			t.Fatalf("call %d fails: %s", n+1, diff)
		}
	}
}
