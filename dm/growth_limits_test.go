package dm

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

// TestLostStateOfGrownStores: the kernel's tables and the names of files tell what a
// store went on with. One on another filesystem goes on again, and all of it goes.
func TestLostStateOfGrownStores(t *testing.T) {
	hostOnly(t)
	more := ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true}
	for _, spec := range []string{"file:/home", "file:/srv", "file:/srv/cow"} {
		h := newRoomyHost(t, ioctltest.Options{})
		before := h.Snapshot()
		check(t, h.createIn(spec))
		_, err := h.m.Extend(context.Background(), more)
		check(t, err)
		next := New(h.m.opts)
		next.opts.StateDir, next.state.Path = "/state2", "/state2"
		want := 2
		if _, err := next.Extend(context.Background(), more); spec != "file:/home" {
			check(t, err)
			want = 3
		} else if !errors.Is(err, ErrNoSpace) { // how its image was cut is lost
			t.Errorf("%s: %v", spec, err)
		}
		set, err := next.Show(context.Background(), "nightly")
		check(t, err)
		if s := set.Volumes[0].Store; s.SizeBytes != uint64(want)*mib || len(s.Files) != want-1 || len(s.Spill) > 0 || set.State != StateActive {
			t.Errorf("%s: %+v", spec, set)
		}
		check(t, next.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		r, err := next.Recover(context.Background())
		check(t, err)
		if len(r.Left) > 0 {
			t.Errorf("%s: %v", spec, r.Left)
		}
		same(t, spec, filesAndDevices(before), filesAndDevices(h.Snapshot()))
		h.healthy(t)
	}
}

// TestFileOfAnOlderReleaseThatGrew: one file made larger in place, with a row of the
// table for each time, is extended, looked after and removed like any other. An
// extend that was interrupted then left its pin off.
func TestFileOfAnOlderReleaseThatGrew(t *testing.T) {
	hostOnly(t)
	h := newRoomyHost(t, ioctltest.Options{})
	before := h.Snapshot()
	check(t, h.createIn("file:/home/cow"))
	h.growInPlace(t, "/home/cow", mib)
	_, err := h.m.Recover(context.Background())
	check(t, err)
	if flags := h.flags(t, "/home/cow"); flags&ioctl.FlagImmutable == 0 {
		t.Errorf("not pinned again: %#x", flags)
	}
	for want := range uint64(2) {
		set, err := h.m.Show(context.Background(), "nightly")
		if err != nil || set.State != StateActive || set.Volumes[0].Store.SizeBytes != (2+want)*mib || !*set.Volumes[0].Store.Pinned {
			t.Errorf("%+v, %v", set, err)
		}
		_, err = h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true})
		check(t, err)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	same(t, "removed", filesAndDevices(before), filesAndDevices(h.Snapshot()))
}

// growInPlace is what an older release did to a file, up to where it was killed.
func (h *host) growInPlace(t *testing.T, path string, more uint64) {
	t.Helper()
	s, err := h.m.open("extend", "nightly")
	check(t, err)
	defer s.close()
	record, err := s.state.LoadSet("nightly")
	check(t, err)
	f, err := h.Border().Open(path, unix.O_RDONLY, 0)
	check(t, err)
	check(t, f.SetFlags(ioctl.FlagNoDump))
	check(t, f.Close())
	f, err = h.Border().Open(path, unix.O_RDWR, 0)
	check(t, err)
	file := record.Volumes[0].StoreFile
	file.Bytes += more
	check(t, f.Allocate(0, int64(file.Size())))
	table, err := store.Layout(f, file, 0)
	check(t, errors.Join(err, f.Close()))
	ours, err := s.read.Look()
	check(t, err)
	var rows []ioctltest.Row
	for _, r := range table {
		l := r.Target.(targets.Linear)
		l.Dev = targets.Device{DevNo: ours.Named(file.Over).Dev}
		rows = append(rows, ioctltest.Row{Start: uint64(r.Start), Length: uint64(r.Length), Type: "linear", Params: l.Params()})
	}
	h.Reload(ours.Member(record.ID, 0, plan.RoleStore).Name, rows...)
	boot, err := s.read.BootID()
	check(t, err)
	check(t, s.state.Begin(journal.Intent{Op: "extend", Set: "nightly", ID: record.ID, BootID: boot}))
}

// TestOlderStoresAreTold: a store's file on an origin that an older set has an image of
// takes room in that set's store; the receipt says how much at most, and a create that
// fails says that it stays taken.
func TestOlderStoresAreTold(t *testing.T) {
	hostOnly(t)
	h := newRoomyHost(t, ioctltest.Options{})
	var log strings.Builder
	h.m.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := CreateRequest{Name: "older", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}, StoreSize: Size{Bytes: 32 * mib}}
	h.create(t, r)
	used := func() uint64 {
		set, err := h.m.Show(context.Background(), "older")
		check(t, err)
		return *set.Volumes[0].Store.UsedBytes
	}
	before := used()
	r.Name, r.Stores, r.StoreSize = "nightly", map[string]string{"": "file:/home/cow"}, Size{Bytes: 8 * mib}
	h.create(t, r)
	set, err := h.m.Show(context.Background(), "nightly")
	check(t, err)
	c := set.Receipt.Copied
	if len(c) != 1 || c[0].Volume != "home" || c[0].Path != "/home/cow" || !slices.Equal(c[0].Images, []string{"dmsnap-older-home"}) || used() > before+c[0].Bytes {
		t.Errorf("%+v; %d bytes are used, were %d", c, used(), before)
	}
	if strings.Contains(log.String(), "other sets") {
		t.Errorf("told of what did not fail: %s", log.String())
	}
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "FIFREEZE" {
			return unix.EIO
		}
		return nil
	})
	r.Name, r.Stores, r.StoreSize = "failing", map[string]string{"": "file:/home/cow2"}, Size{Bytes: mib}
	_, err = h.m.Create(context.Background(), r)
	h.Fail(nil)
	if err == nil || !strings.Contains(log.String(), "the stores of other sets keep what was copied") || !strings.Contains(log.String(), "dmsnap-older-home") {
		t.Errorf("%v; the log: %s", err, log.String())
	}
}

// TestPersistentStoresGrow as others do, and of a set that others may read through too.
func TestPersistentStoresGrow(t *testing.T) {
	hostOnly(t)
	for _, spec := range []string{"file:/home/.cow", "file:/srv/.cow"} {
		h := newRoomyHost(t, ioctltest.Options{Udev: true})
		before := h.Snapshot()
		h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, Persistent: true, Stores: map[string]string{"": spec}, StoreSize: Size{Bytes: mib}})
		h.create(t, CreateRequest{Name: "newer", Origins: []string{"/home"}, Persistent: true, Stores: map[string]string{"": "/dev/vdc"}})
		for range 2 {
			_, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true})
			check(t, err)
		}
		h.agrees(t, spec, h.m)
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "newer"}))
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		same(t, spec, filesAndDevices(before), filesAndDevices(h.Snapshot()))
		h.healthy(t)
	}
}
