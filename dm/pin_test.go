package dm

import (
	"context"
	"errors"
	"path"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// mkfs is the open that every tool makes that writes a new filesystem.
func (h *host) mkfs(name string) error {
	f, err := h.Border().Open("/dev/mapper/"+name, unix.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// TestStoreHoldsItsFilesystem: as long as a store lies in a file on a filesystem,
// the kernel refuses to unmount it, and to make another in its place, after a lazy
// unmount too. Removal lets it go.
func TestStoreHoldsItsFilesystem(t *testing.T) {
	hostOnly(t)
	for _, spec := range []string{"file:/home", "file:/home/cow"} {
		h := newHost(t, ioctltest.Options{Udev: true})
		check(t, h.createIn(spec))
		set, err := h.m.Show(context.Background(), "nightly")
		check(t, err)
		if held := set.Volumes[0].Store.Pinned; held == nil || !*held {
			t.Errorf("%s: it is not said to be held: %+v", spec, set.Volumes[0].Store)
		}
		if err := h.Border().Unmount("/home", 0); !errors.Is(err, unix.EBUSY) {
			t.Errorf("%s: unmounted beneath a store: %v", spec, err)
		}
		check(t, h.Border().Unmount("/home", unix.MNT_DETACH))
		if err := h.mkfs("home"); !errors.Is(err, unix.EBUSY) {
			t.Errorf("%s: made anew beneath a store: %v", spec, err)
		}
		h.Mount(h.home, "/home", "ext4") // the same superblock
		check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
		check(t, h.Border().Unmount("/home", 0))
		check(t, h.mkfs("home"))
		h.healthy(t)
	}
}

// TestStoreHoldsForEverybody: a dmsnap with a mount namespace of its own holds what
// process 1 sees, by the file that it made and no other.
func TestStoreHoldsForEverybody(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.AddProcess(1, "init", 77)
	check(t, h.createIn("file:/home/cow"))
	held := false
	for _, c := range h.Log() {
		held = held || c.Op == "open" && c.Path == "/proc/1/root/home/cow"
	}
	if !held {
		t.Error("the file was not opened where process 1 has it")
	}
	check(t, h.Border().Unmount("/home", 0)) // ours only
	if err := h.mkfs("home"); !errors.Is(err, unix.EBUSY) {
		t.Errorf("made anew beneath a store: %v", err)
	}
	h.Mount(h.home, "/home", "ext4")
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
}

// TestUnpin lets filesystems go for a shutdown. Show and why say so, and recover
// holds them again.
func TestUnpin(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{Udev: true})
	before := h.Snapshot()
	check(t, h.createIn("file:/home/cow"))
	held := func(want bool) {
		t.Helper()
		set, err := h.m.Show(context.Background(), "nightly")
		check(t, err)
		x, err := h.m.Why(context.Background(), "nightly", 0)
		check(t, err)
		said := false
		for _, f := range x.Findings {
			said = said || strings.Contains(f.Message, "/home/cow") && (f.Level == LevelNote) == want && f.Hint != ""
		}
		if got := set.Volumes[0].Store.Pinned; set.State != StateActive || got == nil || *got != want || !said {
			t.Errorf("%s, held %v, want %v; %+v", set.State, got, want, x.Findings)
		}
	}
	held(true)
	done, err := h.m.Unpin(context.Background())
	if err != nil || len(done) != 1 || done[0].File != "/home/cow" {
		t.Errorf("%+v, %v", done, err)
	}
	held(false)
	for range 2 {
		r, err := h.m.Recover(context.Background())
		if err != nil || len(r.Sets)+len(r.Left) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
		held(true)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	same(t, "removed", withoutLocks(before), withoutLocks(h.Snapshot()))
	if done, err = h.m.Unpin(context.Background()); err != nil || len(done) > 0 {
		t.Errorf("%+v, %v", done, err)
	}
	h.healthy(t)
}

// TestForeignFileIsNotUsed: whoever owns the directory puts a file of his in place of
// the store's between any two calls. His file is not used, changed or removed.
func TestForeignFileIsNotUsed(t *testing.T) {
	hostOnly(t)
	for _, spec := range []string{"file:/home/cow", "file:/srv/cow"} {
		first := newHost(t, ioctltest.Options{})
		first.elsewhere(t)
		check(t, first.createIn(spec))
		name := strings.TrimPrefix(spec, "file:")
		for n := 0; n < first.Calls(); n += step() {
			h := newHost(t, ioctltest.Options{})
			h.elsewhere(t)
			swapped, trying := false, false
			h.Fail(func(c ioctltest.Call) error {
				if c.N <= n || swapped || trying {
					return nil
				}
				trying = true
				defer func() { trying = false }()
				if h.Border().Rename(name, path.Dir(name)+"/mine") == nil {
					swapped = true
					h.WriteFile(name, "bob's")
				}
				return nil
			})
			err := h.createIn(spec)
			h.Fail(nil)
			if !swapped {
				check(t, err)
				continue
			}
			if err == nil {
				t.Errorf("%s, swapped at call %d: the set was made", spec, n)
			}
			if b, err := h.Border().ReadFile(name); err != nil || string(b) != "bob's" {
				t.Errorf("%s, swapped at call %d: the other file is %q, %v", spec, n, b, err)
			}
			f, err := h.Border().Open(name, unix.O_RDWR, 0)
			check(t, err)
			check(t, f.Close())
			st, err := h.Border().Stat(path.Dir(name) + "/mine")
			if err != nil || st.Size != 0 {
				t.Errorf("%s, swapped at call %d: what was ours has %d bytes, %v", spec, n, st.Size, err)
			}
		}
	}
}

// TestStoreDirectory is root's alone, tells backups to leave it out, and goes with
// the last store in it. A file of an earlier version beside it is found too.
func TestStoreDirectory(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	before := h.Snapshot()
	check(t, h.createIn("file:/home"))
	st, err := h.Border().Stat("/home/.dmsnap")
	if err != nil || st.Mode&0o777 != 0o700 || st.UID != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	tag, err := h.Border().ReadFile("/home/.dmsnap/CACHEDIR.TAG")
	if err != nil || !strings.HasPrefix(string(tag), "Signature: 8a477f597d28d172789f06886806bc55") {
		t.Errorf("%q, %v", tag, err)
	}
	_, err = h.m.Create(context.Background(), CreateRequest{
		Name: "second", Origins: []string{"/var"}, Stores: map[string]string{"": "file:/home"}, StoreSize: Size{Bytes: mib},
	})
	check(t, err)
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	if _, err := h.Border().Stat("/home/.dmsnap/CACHEDIR.TAG"); err != nil {
		t.Error(err)
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "second"}))
	same(t, "both removed", withoutLocks(before), withoutLocks(h.Snapshot()))
}

// TestStoreDirectoryOfAnother is refused: a user's own, or a link.
func TestStoreDirectoryOfAnother(t *testing.T) {
	hostOnly(t)
	for name, make := range map[string]func(h *host){
		"open to others": func(h *host) { check(t, errors.Join(h.Border().Mkdir("/home/.dmsnap", 0o755))) },
		"a link":         func(h *host) { h.Symlink("/var", "/home/.dmsnap") },
		"a file":         func(h *host) { h.WriteFile("/home/.dmsnap", "") },
	} {
		h := newHost(t, ioctltest.Options{})
		make(h)
		before := h.Snapshot()
		err := h.createIn("file:/home")
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUsage || e.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
		same(t, name, withoutLocks(before), withoutLocks(h.Snapshot()))
	}
}

// TestAnyUmask: the modes are those that removal expects.
func TestAnyUmask(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	before := h.Snapshot()
	h.Umask(0o777)
	check(t, h.createIn("file:/home"))
	names, err := h.Border().ReadDir("/home/.dmsnap")
	check(t, err)
	for _, name := range names {
		if st, err := h.Border().Stat("/home/.dmsnap/" + name); err != nil || name != "CACHEDIR.TAG" && st.Mode&0o777 != 0o600 {
			t.Errorf("%s: %#o, %v", name, st.Mode, err)
		}
	}
	check(t, h.m.Remove(context.Background(), RemoveRequest{Name: "nightly"}))
	h.Umask(0)
	same(t, "removed", filesAndDevices(before), filesAndDevices(h.Snapshot()))
}

// TestLostPins: a dmsnap that knows nothing of pins removes a set with its file. The
// next recover lets the filesystem go.
func TestLostPins(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	f, err := h.Border().Open("/home/cow", unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	check(t, h.Border().PinFile(f, "dmsnap-pin-0123456789abcdef0123456789abcdef.0"))
	check(t, f.Close())
	r, err := h.m.Recover(context.Background())
	if err != nil || len(r.Left) != 1 || r.Left[0] != "/home/cow" {
		t.Errorf("it still has its name: %+v, %v", r, err)
	}
	check(t, h.Border().Unlink("/home/cow"))
	r, err = h.m.Recover(context.Background())
	if err != nil || len(r.Left) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	check(t, h.Border().Unmount("/home", 0))
}

// TestNobodySwapsAFileThatGrows: at no call of an extend can the file be moved away that
// the store has, nor the one it gets once it has that. A name that is taken is
// somebody else's.
func TestNobodySwapsAFileThatGrows(t *testing.T) {
	hostOnly(t)
	more := ExtendRequest{Name: "nightly", Size: Size{Bytes: mib}, Relative: true}
	h := newRoomyHost(t, ioctltest.Options{})
	check(t, h.createIn("file:/home/cow"))
	set, err := h.m.Show(context.Background(), "nightly")
	check(t, err)
	further, loaded, trying := "/home/"+plan.FurtherName(set.UUID, 0, 1), false, false
	h.Fail(func(c ioctltest.Call) error {
		if trying {
			return nil
		}
		trying = true
		defer func() { trying = false }()
		loaded = loaded || c.Request == "DM_TABLE_LOAD"
		if h.Border().Rename("/home/cow", "/home/mine") == nil || loaded && h.Border().Rename(further, "/home/mine") == nil {
			t.Errorf("a file of the store can be moved away before %s", c)
		}
		return nil
	})
	_, err = h.m.Extend(context.Background(), more)
	h.Fail(nil)
	if err != nil || !loaded {
		t.Fatalf("%v, loaded: %v", err, loaded)
	}
	h.WriteFile("/home/"+plan.FurtherName(set.UUID, 0, 2), "bob's")
	before := withoutLocks(h.Snapshot())
	if _, err = h.m.Extend(context.Background(), more); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the next file's name is taken: %v", err)
	}
	same(t, "the name was taken", before, withoutLocks(h.Snapshot()))
}
