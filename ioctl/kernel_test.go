package ioctl_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Tests on a real kernel, as root, with devices of the targets zero, error and
// linear, which need no disk. Names and uuids carry a mark, by which leftovers
// are found.
const mark = "dmsnap-ioctltest-"

// guest opens the control node of a machine that may be broken.
func guest(t *testing.T) (*ioctl.Kernel, *ioctl.Control) {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	if out, err := exec.Command("modprobe", "dm-mod").CombinedOutput(); err != nil {
		t.Logf("modprobe dm-mod: %v: %s", err, out)
	}
	k := ioctl.Host()
	c, err := k.OpenControl()
	must(t, err)
	t.Cleanup(func() {
		sweep(t, c)
		must(t, c.Close())
	})
	return k, c
}

func sweep(t *testing.T, c *ioctl.Control) {
	left, err := c.List(ioctl.ID{Name: mark})
	if err != nil {
		t.Error(err)
	}
	for _, e := range left {
		_, _ = c.Resume(ioctl.ID{Name: e.Name}, 0, ioctl.Event{})
	}
	for range left { // each round frees what the devices above it held
		for _, e := range left {
			_, _ = c.Remove(ioctl.ID{Name: e.Name}, 0, ioctl.Event{})
		}
	}
	if left, err = c.List(ioctl.ID{Name: mark}); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustFail(t *testing.T, err error, wants ...error) {
	t.Helper()
	for _, want := range wants {
		if !errors.Is(err, want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
	}
}

// device makes a device with a live table and returns its identity and number.
func device(t *testing.T, c *ioctl.Control, name string, specs ...ioctl.Spec) (ioctl.ID, ioctl.DevNo) {
	t.Helper()
	id := ioctl.ID{Name: mark + name}
	info, err := c.Create(id.Name, "", 0, ioctl.DevNo{})
	must(t, err)
	must(t, c.Load(id, 0, specs))
	_, err = c.Resume(id, 0, ioctl.Event{})
	must(t, err)
	return id, info.Dev
}

// removed removes a device, in spite of a udev that looks at it just now.
func removed(t *testing.T, c *ioctl.Control, id ioctl.ID) {
	t.Helper()
	for range 100 {
		_, err := c.Remove(id, 0, ioctl.Event{})
		if !errors.Is(err, unix.EBUSY) {
			must(t, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%v stays busy", id)
}

func zero(sectors uint64) ioctl.Spec { return ioctl.Spec{Length: sectors, Type: "zero"} }

func TestKernelVersions(t *testing.T) {
	k, c := guest(t)
	release, err := k.Release()
	must(t, err)
	v, err := c.Version()
	must(t, err)
	t.Logf("Linux %s, device-mapper %v", release, v)
	if !v.AtLeast(4, 47) {
		t.Errorf("interface %v", v)
	}
	targets, err := c.TargetVersions()
	must(t, err)
	has := func(name string) bool {
		return slices.ContainsFunc(targets, func(v ioctl.TargetVersion) bool { return v.Name == name })
	}
	if !has("linear") || !has("error") {
		t.Errorf("targets %v", targets)
	}
	linear, err := c.TargetVersion("linear")
	must(t, err)
	if !slices.Contains(targets, linear) {
		t.Errorf("linear is %v, listed %v", linear, targets)
	}
	snapshot, err := c.TargetVersion("snapshot") // loads the module
	must(t, err)
	if !snapshot.Version.AtLeast(1, 16) {
		t.Errorf("snapshot %v", snapshot)
	}
	_, err = c.TargetVersion("no-such-target")
	mustFail(t, err, unix.EINVAL)
}

func TestKernelLife(t *testing.T) {
	_, c := guest(t)
	id, uuid := ioctl.ID{Name: mark + "life"}, "DMSNAP-ioctltest-life"
	info, err := c.Create(id.Name, uuid, 0, ioctl.DevNo{})
	must(t, err)
	if info.Dev == (ioctl.DevNo{}) || info.Live || info.Inactive || info.Suspended {
		t.Errorf("created: %+v", info)
	}
	_, err = c.Create(id.Name, "", 0, ioctl.DevNo{})
	mustFail(t, err, unix.EBUSY)
	if deps, err := c.Deps(id, 0); err != nil || len(deps) != 0 {
		t.Errorf("dependencies without a table: %v, %v", deps, err)
	}
	if _, specs, err := c.Table(id, 0); err != nil || len(specs) != 0 {
		t.Errorf("table without a table: %v, %v", specs, err)
	}
	_, err = c.Resume(id, 0, ioctl.Event{}) // it is not suspended: nothing to do
	must(t, err)

	table := []ioctl.Spec{
		{Start: 0, Length: 2048, Type: "zero"},
		{Start: 2048, Length: 1024, Type: "error"},
		{Start: 3072, Length: 8, Type: "zero"},
	}
	must(t, c.Load(id, 0, table))
	state := func(by ioctl.ID, live, inactive, suspended bool) {
		t.Helper()
		got, err := c.Status(by)
		must(t, err)
		if got.Live != live || got.Inactive != inactive || got.Suspended != suspended || got.Name != id.Name ||
			got.UUID != uuid || got.Dev != info.Dev {
			t.Errorf("state %+v", got)
		}
	}
	state(id, false, true, false)
	_, got, err := c.Table(id, ioctl.QueryInactive)
	must(t, err)
	if !slices.Equal(got, table) {
		t.Errorf("inactive table %v", got)
	}
	must(t, c.Clear(id))
	must(t, c.Clear(id))
	state(id, false, false, false)
	must(t, c.Load(id, 0, table))
	_, err = c.Resume(ioctl.ID{UUID: uuid}, ioctl.SkipLockFS|ioctl.NoFlush, ioctl.FlagsOnly(ioctl.DisableOtherRules))
	must(t, err)
	state(ioctl.ID{UUID: uuid}, true, false, false)
	if _, got, err = c.Table(id, ioctl.SecureData); err != nil || !slices.Equal(got, table) {
		t.Errorf("live table %v, %v", got, err)
	}
	_, err = c.Suspend(ioctl.ID{Dev: info.Dev}, ioctl.SkipLockFS)
	must(t, err)
	_, err = c.Suspend(id, 0)
	must(t, err)
	state(ioctl.ID{Dev: info.Dev}, true, false, true)
	_, err = c.Resume(id, 0, ioctl.Event{})
	must(t, err)
	state(id, true, false, false)
	removed(t, c, id)
	_, err = c.Status(id)
	mustFail(t, err, ioctl.ErrNotFound, fs.ErrNotExist, unix.ENXIO)
	mustFail(t, c.Load(id, 0, table), ioctl.ErrNotFound)
	_, err = c.Message(id, 0, "x")
	mustFail(t, err, ioctl.ErrNotFound)
}

func TestKernelPersistentNumber(t *testing.T) {
	_, c := guest(t)
	want := ioctl.DevNo{Minor: 70001} // more than 8 bits: the encoding shows
	info, err := c.Create(mark+"minor", "", ioctl.PersistentDev, want)
	must(t, err)
	if info.Dev.Minor != want.Minor || info.Dev.Major == 0 {
		t.Errorf("number %v", info.Dev)
	}
	_, err = c.Create(mark+"minor2", "", ioctl.PersistentDev, want)
	mustFail(t, err, unix.ENXIO)
	if errors.Is(err, ioctl.ErrNotFound) {
		t.Errorf("a taken minor reads as %v", err)
	}
	removed(t, c, ioctl.ID{Dev: info.Dev})
}

func TestKernelLinearAndDeps(t *testing.T) {
	k, c := guest(t)
	lower, dev := device(t, c, "lower", zero(4096))
	upper, _ := device(t, c, "upper", ioctl.Spec{Length: 1024, Type: "linear", Params: dev.String() + " 8"})
	deps, err := c.Deps(upper, 0)
	must(t, err)
	if !slices.Equal(deps, []ioctl.DevNo{dev}) {
		t.Errorf("dependencies %v, want %v", deps, dev)
	}
	info, err := c.Status(lower)
	must(t, err)
	if info.OpenCount < 1 {
		t.Errorf("open count %d", info.OpenCount)
	}
	_, err = c.Remove(lower, 0, ioctl.Event{})
	mustFail(t, err, unix.EBUSY)
	node := "/dev/" + mark + "node"
	must(t, k.Mknod(node, unix.S_IFBLK|0o600, dev))
	defer func() { must(t, k.Unlink(node)) }()
	f, err := k.Open(node, unix.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	blockDevice(t, f, dev)
	info, err = c.Remove(lower, ioctl.DeferredRemove, ioctl.Event{})
	must(t, err)
	if !info.DeferredRemove || info.UeventGenerated {
		t.Errorf("deferred: %+v", info)
	}
	removed(t, c, upper)
	must(t, f.Close())
	for range 100 {
		if _, err = c.Status(lower); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	mustFail(t, err, ioctl.ErrNotFound)
}

// blockDevice asks a block device of 2 MiB all there is to ask.
func blockDevice(t *testing.T, f *ioctl.File, dev ioctl.DevNo) {
	t.Helper()
	st, err := f.Stat()
	must(t, err)
	if !st.Is(unix.S_IFBLK) || st.Rdev != dev {
		t.Errorf("stat %+v", st)
	}
	size, err := f.BlockSize()
	must(t, err)
	logical, physical, err := f.SectorSizes()
	must(t, err)
	readOnly, err := f.ReadOnly()
	must(t, err)
	if size != 4096*512 || logical != 512 || physical < logical || readOnly {
		t.Errorf("size %d, sectors %d and %d, read-only %v", size, logical, physical, readOnly)
	}
	must(t, f.Flush())
	must(t, f.ZeroOut(4096, 8192))
	if err := f.Discard(0, 4096); err != nil {
		mustFail(t, err, unix.EOPNOTSUPP)
	}
	mustFail(t, f.ZeroOut(1, 512), unix.EINVAL)
	b := make([]byte, 4096)
	if n, err := f.ReadAt(b, int64(size)-1024); n != 1024 || err == nil {
		t.Errorf("read across the end: %d, %v", n, err)
	}
}

func TestKernelReadOnlyLoad(t *testing.T) {
	_, c := guest(t)
	id := ioctl.ID{Name: mark + "ro"}
	_, err := c.Create(id.Name, "", 0, ioctl.DevNo{})
	must(t, err)
	must(t, c.Load(id, ioctl.ReadOnly, []ioctl.Spec{zero(8)}))
	info, err := c.Resume(id, 0, ioctl.Event{})
	must(t, err)
	if !info.ReadOnly || !info.Live {
		t.Errorf("%+v", info)
	}
}

func TestKernelRenameAndUUID(t *testing.T) {
	_, c := guest(t)
	old, _ := device(t, c, "old", zero(8))
	other, _ := device(t, c, "other", zero(8))
	uuid := "DMSNAP-ioctltest-uuid"
	info, err := c.Rename(old.Name, mark+"new", ioctl.Event{})
	must(t, err)
	if info.Name != old.Name || !info.UeventGenerated {
		t.Errorf("reply to rename: %+v", info)
	}
	_, err = c.Rename(mark+"new", other.Name, ioctl.Event{})
	mustFail(t, err, unix.EBUSY)
	info, err = c.SetUUID(mark+"new", uuid)
	must(t, err)
	if !info.UeventGenerated {
		t.Errorf("reply to uuid: %+v", info)
	}
	_, err = c.SetUUID(mark+"new", uuid+"2")
	mustFail(t, err, unix.EINVAL)
	if info, err = c.Status(ioctl.ID{UUID: uuid}); err != nil || info.Name != mark+"new" {
		t.Errorf("after both: %+v, %v", info, err)
	}
	_, err = c.Rename(old.Name, mark+"x", ioctl.Event{})
	mustFail(t, err, ioctl.ErrNotFound)
}

// TestKernelControlNode removes the control node to see it made again.
func TestKernelControlNode(t *testing.T) {
	k, _ := guest(t)
	const node, aside = "/dev/mapper/control", "/dev/mapper/control-aside"
	must(t, k.Rename(node, aside))
	c, err := k.OpenControl()
	if err == nil {
		_, err = c.Version()
		must(t, c.Close())
	}
	must(t, k.Rename(aside, node))
	must(t, err)
}
