package freeze_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/freeze"
)

func TestGuestFreezeHoldsWriters(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs", "btrfs", "f2fs"} {
		t.Run(fstype, func(t *testing.T) {
			k := inGuest(t)
			dev := mkfs(t, fstype, "/dev/ram0")
			dir := mount(t, t.TempDir(), "/dev/ram0")
			set := open(t, k, dev)
			must(t, set.Freeze(t.Context()))
			w := startWriter(dir)
			w.mustBlock(t)
			must(t, set.Prove())
			if got := set.Frozen(); !slices.Equal(got, []string{dir}) {
				t.Errorf("frozen: %v", got)
			}
			must(t, set.Thaw())
			w.mustFinish(t)
			must(t, set.Thaw())
			wantKind(t, set.Prove(), freeze.ErrNotFrozen, nil)
			if got := set.Frozen(); got != nil {
				t.Errorf("still frozen: %v", got)
			}
		})
	}
}

func TestGuestFrozenByOther(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	dir := mount(t, t.TempDir(), "/dev/ram0")
	set := open(t, k, dev)
	other := hold(t, k, dir)
	err := set.Freeze(t.Context())
	wantKind(t, err, freeze.ErrFrozenByOther, unix.EBUSY)
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("%v does not name %s", err, dir)
	}
	must(t, set.Thaw())
	must(t, set.Close())
	if err := other.Freeze(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("their freeze did not survive: %v", err)
	}
	must(t, other.Thaw())
}

func TestGuestAllOrNone(t *testing.T) {
	k := inGuest(t)
	devA, devB := mkfs(t, "ext4", "/dev/ram0"), mkfs(t, "xfs", "/dev/ram1")
	first := mount(t, t.TempDir(), "/dev/ram0")
	second := mount(t, t.TempDir(), "/dev/ram1")
	set := open(t, k, devA, devB)
	if got := set.Handles(); got[0].Mount().Path != first || got[1].Mount().Path != second {
		t.Fatalf("order: %s, %s", got[0].Mount().Path, got[1].Mount().Path)
	}
	other := hold(t, k, second)
	wantKind(t, set.Freeze(t.Context()), freeze.ErrFrozenByOther, unix.EBUSY)
	w := startWriter(first)
	w.mustFinish(t)
	must(t, other.Thaw())

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := set.Freeze(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestGuestThawedBehindOurBack(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	dir := mount(t, t.TempDir(), "/dev/ram0")
	set := open(t, k, dev)
	must(t, set.Freeze(t.Context()))
	run(t, "fsfreeze", "-u", dir)
	wantKind(t, set.Prove(), freeze.ErrUnproven, nil)
	startWriter(dir).mustFinish(t) // the proof thawed what it froze
	must(t, set.Thaw())

	must(t, set.Freeze(t.Context()))
	run(t, "fsfreeze", "-u", dir)
	wantKind(t, set.Thaw(), freeze.ErrThawedByOther, unix.EINVAL)
	must(t, set.Thaw())
}

func TestGuestBindMountsFreezeOnce(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	top := t.TempDir()
	dir := mount(t, top, "/dev/ram0")
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	bind := filepath.Join(top, "a")
	must(t, os.Mkdir(bind, 0o700))
	run(t, "mount", "--bind", filepath.Join(dir, "sub"), bind)
	t.Cleanup(func() { run(t, "umount", bind) })

	if got := mounts(t, k).Of(dev); len(got) != 2 || got[0].Path != dir || got[1].Root != "/sub" {
		t.Errorf("mounts: %+v", got)
	}
	set := open(t, k, dev)
	if n := len(set.Handles()); n != 1 {
		t.Errorf("%d freezes", n)
	}
	must(t, set.Freeze(t.Context()))
	w := startWriter(bind)
	w.mustBlock(t)
	must(t, set.Thaw())
	w.mustFinish(t)
}

func TestGuestOnlyAFileIsMounted(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	dir, err := os.MkdirTemp("", "m")
	must(t, err)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	run(t, "mount", "/dev/ram0", dir)
	must(t, os.WriteFile(filepath.Join(dir, "inner"), nil, 0o600))
	run(t, "mount", "--bind", filepath.Join(dir, "inner"), file)
	t.Cleanup(func() { run(t, "umount", file) })
	run(t, "umount", dir)
	set := open(t, k, dev)
	must(t, set.Freeze(t.Context()))
	must(t, set.Prove())
	must(t, set.Thaw())
}

// TestGuestOrder: nested mounts, and a filesystem near the root whose device
// is, three layers down, a file on the innermost of them.
func TestGuestOrder(t *testing.T) {
	k := inGuest(t)
	outerDev, innerDev := mkfs(t, "ext4", "/dev/ram0"), mkfs(t, "ext4", "/dev/ram1")
	outer := mount(t, t.TempDir(), "/dev/ram0")
	inner := mount(t, outer, "/dev/ram1")
	image := filepath.Join(inner, "image")
	partitioned(t, image, 2048, 60<<11)
	loop := run(t, "losetup", "-f", "-P", "--show", image)
	t.Cleanup(func() { run(t, "losetup", "-d", loop) })
	_, _, dev := linear(t, k, loop+"p1", 60<<11)
	device := node(t, dev)
	mkfs(t, "ext4", device)
	shallow, err := os.MkdirTemp("/", "m")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(shallow)) })
	run(t, "mount", device, shallow)
	t.Cleanup(func() { run(t, "umount", shallow) })

	set := open(t, k, outerDev, innerDev, dev)
	must(t, set.Freeze(t.Context()))
	if diff := cmp.Diff([]string{shallow, inner, outer}, set.Frozen()); diff != "" {
		t.Error(diff)
	}
	must(t, set.Prove())
	must(t, set.Thaw())
}

// TestGuestNoAllocation: in the window memory may have to come from the very
// filesystem that is frozen.
func TestGuestNoAllocation(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	dir := mount(t, t.TempDir(), "/dev/ram0")
	set := open(t, k, dev)
	h := set.Handles()[0]
	var failed error
	n := testing.AllocsPerRun(5, func() {
		for _, call := range []func() error{h.Freeze, h.Prove, h.Thaw} {
			if err := call(); err != nil {
				failed = err
			}
		}
	})
	if n != 0 || failed != nil {
		t.Errorf("%v allocations, %v", n, failed)
	}
	other := hold(t, k, dir)
	n = testing.AllocsPerRun(5, func() { failed = h.Freeze() })
	wantKind(t, failed, freeze.ErrFrozenByOther, unix.EBUSY)
	if n != 0 {
		t.Errorf("%v allocations when somebody else holds it", n)
	}
	must(t, other.Thaw())
}

func TestGuestMountReplaced(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	dir := mount(t, t.TempDir(), "/dev/ram0")
	plan := mounts(t, k).Plan(freeze.Device{DevNo: dev})
	run(t, "mount", "-t", "tmpfs", "none", dir)
	_, err := freeze.Open(k, plan)
	wantKind(t, err, freeze.ErrStale, nil)
	run(t, "umount", dir)

	// the same superblock and path, but not the mount of the table
	run(t, "mount", "--bind", dir, dir)
	_, err = freeze.Open(k, plan)
	wantKind(t, err, freeze.ErrStale, nil)
	run(t, "umount", dir)
	set, err := freeze.Open(k, plan)
	must(t, err)
	must(t, set.Close())
}

func TestGuestRescue(t *testing.T) {
	k := inGuest(t)
	devA, devB := mkfs(t, "ext4", "/dev/ram0"), mkfs(t, "xfs", "/dev/ram1")
	dirA := mount(t, t.TempDir(), "/dev/ram0")
	mount(t, t.TempDir(), "/dev/ram1")
	run(t, "fsfreeze", "-f", dirA)
	plan := mounts(t, k).Plan(freeze.Device{DevNo: devA}, freeze.Device{DevNo: devB})
	thawed, err := freeze.Rescue(t.Context(), k, plan)
	if diff := cmp.Diff([]string{dirA}, thawed); diff != "" || err != nil {
		t.Error(err, diff)
	}
	thawed, err = freeze.Rescue(t.Context(), k, plan)
	if len(thawed) != 0 || err != nil {
		t.Error(thawed, err)
	}
}
