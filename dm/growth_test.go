package dm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// madeStores are the stores that dmsnap makes, and the files of those that have
// one.
var madeStores = map[string]string{"file:/home/.cow": "/home/.cow", "file:/srv/.cow": "/srv/.cow", "ram": ""}

// made makes a set of home with a store of 1 MiB.
func made(t *testing.T, spec string) *host {
	t.Helper()
	h := newHost(t, ioctltest.Options{Udev: true})
	h.elsewhere(t)
	check(t, h.createIn(spec))
	return h
}

// TestExtendInPlace grows each kind of store that dmsnap makes three times. It
// goes without a trace, grown or not.
func TestExtendInPlace(t *testing.T) {
	hostOnly(t)
	for spec, file := range madeStores {
		t.Run(spec, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			h.elsewhere(t)
			h.Fragment(3)
			before := h.Snapshot()
			check(t, h.createIn(spec))
			for i := range 3 {
				set, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true})
				check(t, err)
				s := set.Volumes[0].Store
				if want := uint64(2+i) * mib; s.SizeBytes != want || set.State != StateActive || len(s.Spill) > 0 {
					t.Errorf("%+v, set %s; want %d bytes", s, set.State, want)
				}
				h.agrees(t, spec, h.m)
			}
			h.fill(t, 0, 40) // it takes more than it had at first
			if file != "" {
				h.lose(t, file, func(*ioctl.File) error { return nil })
				h.pinAgain(t, file)
			}
			set, err := h.m.Show(context.Background(), "nightly")
			if err != nil || set.State != StateActive || *set.Volumes[0].Store.UsedBytes < 2*mib {
				t.Errorf("%+v, %v", set, err)
			}
			check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
			same(t, "grown and removed", filesAndDevices(before), filesAndDevices(h.Snapshot()))
			h.healthy(t)
		})
	}
}

// pinAgain is what lose took away.
func (h *host) pinAgain(t *testing.T, path string) {
	t.Helper()
	f, err := h.Border().Open(path, unix.O_RDONLY, 0)
	check(t, err)
	flag := uint32(ioctl.FlagImmutable)
	if path != "/home/.cow" {
		flag = ioctl.FlagAppend
	}
	check(t, f.SetFlags(flag|ioctl.FlagNoDump))
	check(t, f.Close())
}

// filesAndDevices are the lines of a state that tell what exists outside the state
// directory, without the contents of disks.
func filesAndDevices(state string) string {
	var b strings.Builder
	for l := range strings.Lines(state) {
		if head, _, disk := strings.Cut(l, " data="); disk && strings.HasPrefix(l, "disk ") {
			l = head + "\n"
		}
		if !strings.Contains(l, " /state") && !strings.HasPrefix(l, "sem ") {
			b.WriteString(l)
		}
	}
	return b.String()
}

// agrees expects the record, the table and the file to say the same of a store.
func (h *host) agrees(t *testing.T, spec string, m *Manager) {
	t.Helper()
	record, err := m.state.LoadSet("nightly")
	check(t, err)
	set, err := m.Show(context.Background(), "nightly")
	check(t, err)
	size := set.Volumes[0].Store.SizeBytes
	if v := record.Volumes[0]; v.StoreBytes != size || v.StoreFile.Path != "" && v.StoreFile.Bytes != size {
		t.Errorf("a store of %d bytes, by its record %d, its file %d", size, v.StoreBytes, v.StoreFile.Bytes)
	}
	path := madeStores[spec]
	if path == "" {
		return
	}
	f, err := h.Border().Open(path, unix.O_RDONLY, 0)
	check(t, err)
	defer f.Close()
	st, err := f.Stat()
	check(t, err)
	flags, err := f.GetFlags()
	check(t, err)
	if uint64(st.Size) != layout.Medium(size) || flags&(ioctl.FlagImmutable|ioctl.FlagAppend) == 0 {
		t.Errorf("a store of %d bytes in a file of %d, flags %#x", size, st.Size, flags)
	}
}

// TestExtendInPlaceFails fails calls, and then kills the process before them: the
// store has the old size or the new one, its file no more than that, and pinned.
func TestExtendInPlaceFails(t *testing.T) {
	hostOnly(t)
	for spec := range madeStores {
		x := extension{
			request: ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true}, step: 3 * step(),
			host:    func(t *testing.T) *host { return made(t, spec) },
			settled: func(h *host, t *testing.T, what string, m *Manager) { h.settledIn(t, spec, what, m) },
		}
		for name, run := range map[string]func(*testing.T){"failed/": x.fails, "killed/": x.dies} {
			t.Run(name+spec, func(t *testing.T) {
				t.Parallel()
				run(t)
			})
		}
	}
}

// settledIn expects a set that is whole after recover and goes without a trace.
func (h *host) settledIn(t *testing.T, spec, what string, m *Manager) {
	t.Helper()
	_, err := m.Recover(context.Background())
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	set, err := m.Show(context.Background(), "nightly")
	if err != nil || set.State != StateActive {
		t.Errorf("%s: %+v, %v", what, set, err)
		return
	}
	if size := set.Volumes[0].Store.SizeBytes; size != mib && size != 2*mib {
		t.Errorf("%s: a store of %d bytes", what, size)
	}
	h.agrees(t, spec, m)
	check(t, m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	clean := newHost(t, ioctltest.Options{Udev: true})
	clean.elsewhere(t)
	same(t, what+", then removed", filesAndDevices(clean.Snapshot()), filesAndDevices(h.Snapshot()))
}

// TestGrowthKeepsThePast: blocks of a file that was deleted since the cut are free
// now, but the image still needs them. The store does not get them, though they
// are the first it would be given.
func TestGrowthKeepsThePast(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	allocate := func(path string, size int64) []ioctl.Extent {
		f, err := h.Border().Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
		check(t, err)
		defer f.Close()
		check(t, f.Allocate(0, size))
		extents, err := f.Extents(0)
		check(t, err)
		return extents
	}
	old := allocate("/home/old", 2*mib)[0]
	check(t, h.createIn("file:/home/.cow"))
	check(t, h.Border().Unlink("/home/old"))
	if again := allocate("/home/again", mib)[0]; again.Physical < old.Physical {
		t.Fatalf("a new file lies at %d, one that was deleted lay at %d", again.Physical, old.Physical)
	}
	check(t, h.Border().Unlink("/home/again"))
	_, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: 3 * mib}})
	check(t, err)
	h.agrees(t, "file:/home/.cow", h.m)
	f, err := h.Border().Open("/home/.cow", unix.O_RDONLY, 0)
	check(t, err)
	defer f.Close()
	extents, err := f.Extents(0)
	check(t, err)
	for _, e := range extents {
		if e.Physical < old.Physical+old.Length && old.Physical < e.Physical+e.Length {
			t.Errorf("the store has %+v, where a file of the image lies: %+v", e, old)
		}
	}
	// What is left besides the deleted file's blocks is not enough.
	allocate("/home/rest", 3*mib/2)
	before := withoutLocks(h.Snapshot())
	_, err = h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true})
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("grown into what the image needs: %v", err)
	}
	same(t, "refused", before, withoutLocks(h.Snapshot()))
}

// TestGrowthIsRefused where what images need cannot be told, or there is no room;
// another device helps.
func TestGrowthIsRefused(t *testing.T) {
	hostOnly(t)
	for name, row := range map[string]struct {
		change func(*CreateRequest)
		size   uint64
	}{
		"writable": {func(r *CreateRequest) { r.Writable = true }, 2 * mib},
		"crash":    {func(r *CreateRequest) { r.Consistency = Crash }, 2 * mib},
		"too much": {func(*CreateRequest) {}, 12 * mib},
	} {
		h := newHost(t, ioctltest.Options{})
		r := CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "file:/home/.cow"}, StoreSize: Size{Bytes: mib}}
		row.change(&r)
		h.create(t, r)
		before := withoutLocks(h.Snapshot())
		e := ExtendRequest{Name: "nightly", Size: Size{Bytes: row.size}}
		if _, err := h.m.Extend(context.Background(), e); !errors.Is(err, ErrNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
		same(t, name, before, withoutLocks(h.Snapshot()))
		e.Store = "/dev/vdd"
		set, err := h.m.Extend(context.Background(), e)
		if err != nil || set.Volumes[0].Store.SizeBytes != row.size || set.State != StateActive {
			t.Errorf("%s, with another device: %+v, %v", name, set, err)
		}
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	}
}

// TestMonitorGrowsFiles: a store on the origin's own filesystem gets what there is,
// less the reserve, and then goes on with a disk.
func TestMonitorGrowsFiles(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "file:/home/.cow"}, StoreSize: Size{Bytes: 2 * mib}})
	notices := h.monitored(t, MonitorRequest{Step: Size{Bytes: 12 * mib}, Spill: []string{"/dev/vdd"}})
	h.fill(t, 0, 25)
	n := expect(t, notices, EventLow, EventGrown)
	if n.SizeBytes <= 2*mib || n.SizeBytes > 8*mib {
		t.Errorf("%+v", n)
	}
	h.agrees(t, "file:/home/.cow", h.m)
	h.fill(t, 25, 75)
	if n = expect(t, notices, EventLow, EventGrown); n.SizeBytes <= 8*mib {
		t.Errorf("%+v", n)
	}
	set, err := h.m.Show(context.Background(), "nightly")
	check(t, err)
	if s := set.Volumes[0].Store; set.State != StateActive || s.Path != "/home/.cow" || !slices.Equal(s.Spill, []string{"/dev/vdd"}) {
		t.Errorf("%s: %+v", set.State, s)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	h.healthy(t)
}

// TestGrowthLeavesRoom: what was deleted since the cut cannot be used, and is more than
// half of what is free. Growth gives up before it has taken that from applications.
func TestGrowthLeavesRoom(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	f, err := h.Border().Open("/home/old", unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	check(t, f.Allocate(0, 4*mib))
	check(t, f.Close())
	check(t, h.createIn("file:/home/cow"))
	check(t, h.Border().Unlink("/home/old"))
	free := func() uint64 {
		st, err := h.Border().Statfs("/home")
		check(t, err)
		return st.Avail * uint64(st.BlockSize)
	}
	before, least, looking := free(), ^uint64(0), false
	h.Fail(func(ioctltest.Call) error {
		if !looking {
			looking = true
			least = min(least, free())
			looking = false
		}
		return nil
	})
	_, err = h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: mib / 2}, Relative: true})
	h.Fail(nil)
	if !errors.Is(err, ErrNoSpace) || least < before*2/5 {
		t.Errorf("%d of %d bytes were left for others: %v", least, before, err)
	}
	set, err := h.m.Show(context.Background(), "nightly")
	if err != nil || set.State != StateActive || free() != before {
		t.Errorf("%+v, %v; %d bytes free, were %d", set, err, free(), before)
	}
}
