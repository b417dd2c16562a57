package freeze_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
)

// linear maps the start of a device one to one under the device-mapper.
func linear(t *testing.T, k *ioctl.Kernel, device string, sectors uint64) (*ioctl.Control, ioctl.ID, ioctl.DevNo) {
	t.Helper()
	c, err := k.OpenControl()
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	const name = "freeze-test"
	id := ioctl.ID{Name: name}
	_, err = c.Create(name, "", 0, ioctl.DevNo{})
	must(t, err)
	t.Cleanup(func() {
		eventually(t, func() error { _, err := c.Remove(id, 0, ioctl.Event{}); return err })
	})
	must(t, c.Load(id, 0, []ioctl.Spec{{Length: sectors, Type: "linear", Params: number(t, device).String() + " 0"}}))
	info, err := c.Resume(id, 0, ioctl.Event{})
	must(t, err)
	return c, id, info.Dev
}

// node makes a node for a device: there is no udev.
func node(t *testing.T, dev ioctl.DevNo) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node")
	must(t, unix.Mknod(path, unix.S_IFBLK|0o600, int(dev.Rdev())))
	return path
}

// TestGuestWindow: freeze, suspend, resume, thaw in the order that all kernels
// bear, with proofs on both sides of the suspend.
func TestGuestWindow(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			k := inGuest(t)
			c, id, dev := linear(t, k, "/dev/ram0", 320<<11)
			device := node(t, dev)
			mkfs(t, fstype, device)
			dir := mount(t, t.TempDir(), device)
			set := open(t, k, dev)
			for range 3 { // a leaked freeze count shows in the next round
				must(t, set.Freeze(t.Context()))
				must(t, set.Prove())
				_, err := c.Suspend(id, ioctl.SkipLockFS)
				must(t, err)
				_, err = c.Resume(id, ioctl.SkipLockFS, ioctl.Event{})
				must(t, err)
				w := startWriter(dir)
				w.mustBlock(t)
				must(t, set.Prove())
				must(t, set.Thaw())
				w.mustFinish(t)
			}
			must(t, set.Close())
		})
	}
}

func TestGuestVfatLeftToDeviceMapper(t *testing.T) {
	k := inGuest(t)
	c, id, dev := linear(t, k, "/dev/ram0", 320<<11)
	device := node(t, dev)
	mkfs(t, "vfat", device)
	dir := mount(t, t.TempDir(), device)
	table := mounts(t, k)
	away := table.Plan(freeze.Device{DevNo: dev})
	if len(away) != 1 || away[0].Method != freeze.None || away[0].Reason == "" {
		t.Errorf("not a front: %+v", away)
	}
	plan := table.Plan(freeze.Device{DevNo: dev, Front: true})
	if len(plan) != 1 || plan[0].Method != freeze.LockFS {
		t.Fatalf("front: %+v", plan)
	}
	_, err := c.Suspend(id, 0)
	must(t, err)
	w := startWriter(dir)
	w.mustBlock(t)
	_, err = c.Resume(id, 0, ioctl.Event{})
	must(t, err)
	w.mustFinish(t)

	h, err := freeze.OpenHandle(k, plan[0])
	must(t, err)
	wantKind(t, h.Freeze(), freeze.ErrUnfreezable, unix.EOPNOTSUPP)
	must(t, h.Close())
}

// TestGuestTrial: for a type nobody knows, Open finds out.
func TestGuestTrial(t *testing.T) {
	for _, c := range []struct {
		fstype string
		direct bool
		want   freeze.Method
	}{{"ext4", true, freeze.Freeze}, {"vfat", true, freeze.LockFS}, {"vfat", false, freeze.None}} {
		t.Run(c.fstype, func(t *testing.T) {
			k := inGuest(t)
			dev := mkfs(t, c.fstype, "/dev/ram0")
			dir := mount(t, t.TempDir(), "/dev/ram0")
			plan := mounts(t, k).Plan(freeze.Device{DevNo: dev, Front: c.direct})
			plan[0].Method, plan[0].Trial = freeze.Freeze, true
			set, err := freeze.Open(k, plan)
			must(t, err)
			defer func() { must(t, set.Close()) }()
			got := set.Plan()[0]
			if got.Method != c.want || got.Trial || len(set.Left()) != 1-len(set.Handles()) {
				t.Errorf("got %v, left %v", got.Method, set.Left())
			}
			startWriter(dir).mustFinish(t)
		})
	}
}

func TestGuestExternalJournals(t *testing.T) {
	k := inGuest(t)
	log := number(t, "/dev/ram1")
	run(t, "mke2fs", "-q", "-F", "-O", "journal_dev", "-b", "4096", "/dev/ram1")
	ext4 := mkfs(t, "ext4", "/dev/ram0", "-b", "4096", "-J", "device=/dev/ram1")
	mount(t, t.TempDir(), "/dev/ram0")
	xfsLog := number(t, "/dev/ram3")
	xfs := mkfs(t, "xfs", "/dev/ram2", "-l", "logdev=/dev/ram3,size=100m")
	mount(t, t.TempDir(), "/dev/ram2", "-o", "logdev=/dev/ram3")

	table := mounts(t, k)
	plan := table.Plan(freeze.Device{DevNo: ext4}, freeze.Device{DevNo: xfs})
	got := map[string][]freeze.Extra{}
	for _, f := range plan {
		got[f.FSType] = f.Extra
	}
	want := map[string][]freeze.Extra{
		"ext4": {{Role: "journal", DevNo: log, Source: "ram1"}},
		"xfs":  {{Role: "log", DevNo: xfsLog, Source: "/dev/ram3"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, dev := range []ioctl.DevNo{log, xfsLog} {
		if plan[0].Uses(dev) == plan[1].Uses(dev) {
			t.Errorf("log device %v: used by both or by neither", dev)
		}
	}
	if got := table.Of(log); got != nil {
		t.Errorf("the journal counts as the filesystem's place: %+v", got)
	}
}

func TestGuestInternalJournalIsNoExtra(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	mount(t, t.TempDir(), "/dev/ram0")
	plan := mounts(t, k).Plan(freeze.Device{DevNo: dev})
	if len(plan) != 1 || plan[0].Extra != nil {
		t.Errorf("got %+v", plan)
	}
}

// TestGuestBtrfs: two devices, mounted by subvolume only, whose files have a
// device number that no mountinfo shows.
func TestGuestBtrfs(t *testing.T) {
	k := inGuest(t)
	first := mkfs(t, "btrfs", "/dev/ram0", "/dev/ram1")
	second := number(t, "/dev/ram1")
	dir := mount(t, t.TempDir(), "/dev/ram0")
	run(t, "btrfs", "subvolume", "create", filepath.Join(dir, "sub"))
	sub := mount(t, t.TempDir(), "/dev/ram0", "-o", "subvol=sub")
	run(t, "umount", dir)
	t.Cleanup(func() { run(t, "mount", "/dev/ram0", dir) }) // for the unmount of its own

	table := mounts(t, k)
	for _, dev := range []ioctl.DevNo{first, second} {
		if got := table.Of(dev); len(got) != 1 || got[0].Path != sub || got[0].DevNo.Major != 0 {
			t.Errorf("mounts on %v: %+v", dev, got)
		}
	}
	plan := table.Plan(freeze.Device{DevNo: second, Front: true})
	if len(plan) != 1 || len(plan[0].Devices) != 2 || !plan[0].Uses(first) || plan[0].Direct {
		t.Fatalf("plan: %+v", plan)
	}
	set := open(t, k, second)
	must(t, set.Freeze(t.Context()))
	w := startWriter(sub)
	w.mustBlock(t)
	must(t, set.Prove())
	must(t, set.Thaw())
	w.mustFinish(t)
}

func TestGuestReadOnly(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	mount(t, t.TempDir(), "/dev/ram0", "-o", "ro")
	set := open(t, k, dev)
	if !set.Plan()[0].ReadOnly {
		t.Error("not seen as read-only")
	}
	must(t, set.Freeze(t.Context()))
	must(t, set.Prove())
	must(t, set.Thaw())
}
