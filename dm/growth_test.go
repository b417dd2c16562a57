package dm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

// madeStores are the stores that dmsnap makes, and the files of those that have
// one.
var madeStores = map[string]string{"file:/home/.cow": "/home/.cow", "file:/srv/.cow": "/srv/.cow", "ram": ""}

// newRoomyHost has 64 MiB free on /home and on /srv, and a disk for more.
func newRoomyHost(t *testing.T, o ioctltest.Options) *host {
	t.Helper()
	k := ioctltest.New(o)
	for i, name := range []string{"vda", "vdb", "vdc", "vdd", "vde"} {
		k.AddDisk(name, ioctl.DevNo{Major: 252, Minor: uint32(16 * i)}, 128*mib)
	}
	h := mounted(t, k, ioctltest.Row{Length: 128 * mib / 512, Type: "linear", Params: "252:0 0"}, ioctltest.Row{Length: 32768, Type: "linear", Params: "252:16 0"})
	h.Mount(ioctl.DevNo{Major: 252, Minor: 64}, "/srv", "ext4")
	return h
}

// made makes a set of home with a store of 1 MiB.
func made(t *testing.T, spec string) *host {
	t.Helper()
	h := newRoomyHost(t, ioctltest.Options{Udev: true})
	check(t, h.createIn(spec))
	return h
}

// give has a file of some size, and tells where it lies.
func (h *host) give(t *testing.T, path string, size int64) []ioctl.Extent {
	t.Helper()
	f, err := h.Border().Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	defer f.Close()
	check(t, f.Allocate(0, size))
	extents, err := f.Extents(0)
	check(t, err)
	return extents
}

// free is what is free for applications on a filesystem.
func (h *host) free(t *testing.T, path string) int64 {
	t.Helper()
	st, err := h.Border().Statfs(path)
	check(t, err)
	return int64(st.Avail) * int64(st.BlockSize)
}

// TestExtendInPlace grows each kind of store that dmsnap makes three times. It
// goes without a trace, grown or not.
func TestExtendInPlace(t *testing.T) {
	hostOnly(t)
	for spec, file := range madeStores {
		t.Run(spec, func(t *testing.T) {
			h := newRoomyHost(t, ioctltest.Options{Udev: true})
			h.Fragment(3)
			before := h.Snapshot()
			check(t, h.createIn(spec))
			for i := range 3 {
				set, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true})
				check(t, err)
				s := set.Volumes[0].Store
				more := 0
				if file != "" {
					more = i + 1
				}
				if want := uint64(2+i) * mib; s.SizeBytes != want || set.State != StateActive || len(s.Spill) > 0 || len(s.Files) != more {
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

// agrees expects the record, the table and the files to say the same of a store, and
// each file to be pinned.
func (h *host) agrees(t *testing.T, spec string, m *Manager) {
	t.Helper()
	record, err := m.state.LoadSet("nightly")
	check(t, err)
	set, err := m.Show(context.Background(), "nightly")
	check(t, err)
	redactedPlan, of := set.Volumes[0].Store, record.Volumes[0]
	var sum uint64
	for _, f := range of.Files() {
		sum += f.Bytes
	}
	if path := madeStores[spec]; of.StoreBytes != redactedPlan.SizeBytes || path != "" && (sum != redactedPlan.SizeBytes || of.StoreFile.Path != path) {
		t.Errorf("a store of %d bytes, by its record %d, its files %d: %+v", redactedPlan.SizeBytes, of.StoreBytes, sum, of.Files())
	}
	if madeStores[spec] == "" {
		return
	}
	if !*redactedPlan.Pinned {
		t.Error("a file does not hold its filesystem")
	}
	for i, file := range of.Files() {
		f, err := h.Border().Open(file.Path, unix.O_RDONLY, 0)
		check(t, err)
		st, err := f.Stat()
		check(t, err)
		flags, err := f.GetFlags()
		check(t, err)
		if uint64(st.Size) < layout.Medium(file.Bytes) || i == 0 && uint64(st.Size) != layout.Medium(mib) || flags&(ioctl.FlagImmutable|ioctl.FlagAppend) == 0 {
			t.Errorf("%s: %d bytes of a store in a file of %d, flags %#x", file.Path, file.Bytes, st.Size, flags)
		}
		b := make([]byte, layout.Align)
		_, err = f.ReadAt(b, 0)
		check(t, err)
		if l, _, err := layout.Decode(b); err != nil || l.ID != set.UUID || l.Piece != uint32(i) {
			t.Errorf("%s: %+v, %v", file.Path, l, err)
		}
		check(t, f.Close())
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
	for l := range strings.Lines(h.Snapshot()) {
		if strings.HasPrefix(l, "sem ") {
			t.Errorf("%s: left behind: %s", what, l)
		}
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
	clean := newRoomyHost(t, ioctltest.Options{Udev: true})
	same(t, what+", then removed", filesAndDevices(clean.Snapshot()), filesAndDevices(h.Snapshot()))
}

// TestGrowthKeepsThePast: blocks of a file that was deleted since the cut are free
// now, but the image still needs them. The store does not get them, though they
// are the first it would be given.
func TestGrowthKeepsThePast(t *testing.T) {
	hostOnly(t)
	h := newRoomyHost(t, ioctltest.Options{})
	old := h.give(t, "/home/old", 12*mib)[0]
	check(t, h.createIn("file:/home/.cow"))
	check(t, h.Border().Unlink("/home/old"))
	if again := h.give(t, "/home/again", mib)[0]; again.Physical < old.Physical {
		t.Fatalf("a new file lies at %d, one that was deleted lay at %d", again.Physical, old.Physical)
	}
	check(t, h.Border().Unlink("/home/again"))
	set, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: 3 * mib}})
	check(t, err)
	h.agrees(t, "file:/home/.cow", h.m)
	s, err := h.m.open("show", "")
	check(t, err)
	defer s.close()
	ours, err := s.read.Look()
	check(t, err)
	rows := ours.Member(set.UUID, 0, plan.RoleStore).Table
	if len(rows) < 2 || rows.Size().Bytes() != 3*mib {
		t.Errorf("the store is\n%s", rows)
	}
	for _, row := range rows {
		at := row.Target.(targets.Linear).Offset.Bytes()
		if at < old.Physical+old.Length && old.Physical < at+row.Length.Bytes() {
			t.Errorf("the store has %v, where a file of the image lies: %+v", row, old)
		}
	}
	// Of what is free, half is what lay in the deleted file.
	h.give(t, "/home/rest", h.free(t, "/home")-16*mib)
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
		"too much": {func(*CreateRequest) {}, 40 * mib},
	} {
		h := newRoomyHost(t, ioctltest.Options{})
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

// TestMonitorGrowsFiles: a store on the origin's own filesystem gets half of what is
// free, and then goes on with a disk.
func TestMonitorGrowsFiles(t *testing.T) {
	hostOnly(t)
	h := newRoomyHost(t, ioctltest.Options{Udev: true})
	h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "file:/home/.cow"}, StoreSize: Size{Bytes: 2 * mib}})
	h.give(t, "/home/rest", h.free(t, "/home")-16*mib)
	notices := h.monitored(t, MonitorRequest{Step: Size{Bytes: 12 * mib}, Spill: []string{"/dev/vdd"}})
	h.fill(t, 0, 25)
	n := expect(t, notices, EventLow, EventGrown)
	if n.SizeBytes <= 2*mib || n.SizeBytes > 8*mib {
		t.Errorf("%+v", n)
	}
	h.fill(t, 25, 100)
	if n = expect(t, notices, EventLow, EventGrown); n.SizeBytes <= 8*mib {
		t.Errorf("%+v", n)
	}
	set, err := h.m.Show(context.Background(), "nightly")
	check(t, err)
	if s := set.Volumes[0].Store; set.State != StateActive || s.Path != "/home/.cow" || len(s.Files) != 1 || !slices.Equal(s.Spill, []string{"/dev/vdd"}) {
		t.Errorf("%s: %+v", set.State, s)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	h.healthy(t)
}

// TestGrowthLeavesRoom: what was deleted since the cut cannot be used, and is more than
// half of what is free. Growth gives up before it has taken that from applications,
// and at no moment can any user write to a file that the store has.
func TestGrowthLeavesRoom(t *testing.T) {
	hostOnly(t)
	h := newRoomyHost(t, ioctltest.Options{})
	h.give(t, "/home/old", 40*mib)
	check(t, h.createIn("file:/home/cow"))
	check(t, h.Border().Unlink("/home/old"))
	before, least, looking := h.free(t, "/home"), int64(1)<<62, false
	h.Fail(func(ioctltest.Call) error {
		if !looking {
			looking = true
			least = min(least, h.free(t, "/home"))
			if flags := h.flags(t, "/home/cow"); flags&ioctl.FlagImmutable == 0 {
				t.Errorf("the store's file is writable: %#x", flags)
			}
			looking = false
		}
		return nil
	})
	_, err := h.m.Extend(context.Background(), ExtendRequest{Name: "nightly", Size: Size{Bytes: mib / 2}, Relative: true})
	h.Fail(nil)
	if !errors.Is(err, ErrNoSpace) || least < before/2 {
		t.Errorf("%d of %d bytes were left for others: %v", least, before, err)
	}
	set, err := h.m.Show(context.Background(), "nightly")
	if err != nil || set.State != StateActive || h.free(t, "/home") != before {
		t.Errorf("%+v, %v; %d bytes free, were %d", set, err, h.free(t, "/home"), before)
	}
}

// flags are the attributes of a file.
func (h *host) flags(t *testing.T, path string) uint32 {
	t.Helper()
	f, err := h.Border().Open(path, unix.O_RDONLY, 0)
	check(t, err)
	defer f.Close()
	flags, err := f.GetFlags()
	check(t, err)
	return flags
}
