package journal_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// state is a state directory on a kernel in memory.
func state(t *testing.T) (*ioctltest.Kernel, journal.Dir) {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{})
	d := journal.Dir{Kernel: k.Border(), Path: "/var/lib/dmsnap"}
	check(t, d.Init())
	return k, d
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func set(name, id string) journal.Set {
	return journal.Set{
		Schema: journal.Schema, Name: name, ID: id, BootID: "b", Created: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Persistent: true,
		Labels: map[string]string{"k": "v\n\"ü\""}, Receipt: json.RawMessage(`{"window_us":4180}`), MadeDirs: []string{"/mnt/a", "/mnt/a/b"},
		Volumes: []journal.Volume{{
			Name: "vg-home", Origin: "/dev/mapper/vg-home", OriginDevno: "254:0", FrontUUID: "LVM-x", Mountpoints: []string{"/home"}, FSType: "ext4",
			StoreKind: "device", StorePath: "/dev/vdc", StoreBytes: 1 << 30, SizeBytes: 1 << 40, ChunkBytes: 64 << 10, Writable: true,
		}},
	}
}

func intent(id string) journal.Intent {
	return journal.Intent{
		Schema: journal.Schema, Op: "create", Set: "nightly", ID: id, BootID: "b", PID: 42,
		Started: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Origins: []string{"254:0"}, Bases: []string{"dmsnap-base-vg-home"},
	}
}

// same compares records by what is written of them: a receipt is indented there.
func same(t *testing.T, want, got any) {
	t.Helper()
	a, err := json.Marshal(want)
	check(t, err)
	b, err := json.Marshal(got)
	check(t, err)
	if diff := cmp.Diff(string(a), string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestRecords(t *testing.T) {
	k, d := state(t)
	empty := k.Snapshot()
	for _, name := range []string{"weekly", "nightly"} {
		check(t, d.SaveSet(set(name, "1")))
	}
	changed := set("nightly", "2")
	check(t, d.SaveSet(changed))
	got, err := d.LoadSet("nightly")
	check(t, err)
	same(t, changed, got)
	all, err := d.Sets()
	check(t, err)
	same(t, []journal.Set{changed, set("weekly", "1")}, all)
	if _, err := d.LoadSet("monthly"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	check(t, d.DropSet("nightly", "1")) // whose record there is no more
	got, err = d.LoadSet("nightly")
	check(t, err)
	same(t, changed, got)
	for name, id := range map[string]string{"weekly": "1", "nightly": "2", "monthly": "3"} {
		check(t, d.DropSet(name, id))
	}
	if diff := cmp.Diff(empty, k.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

func TestIntents(t *testing.T) {
	k, d := state(t)
	empty := k.Snapshot()
	remove := intent("1")
	remove.Op = "remove"
	for _, i := range []journal.Intent{intent("2"), remove, intent("1")} {
		check(t, d.Begin(i))
	}
	got, err := d.Intents()
	check(t, err)
	same(t, []journal.Intent{intent("1"), remove, intent("2")}, got)
	for _, i := range append(got, got[0]) {
		check(t, d.End(i))
	}
	if diff := cmp.Diff(empty, k.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

// TestNoDirectory: before the first Init there is nothing, and that is no error.
func TestNoDirectory(t *testing.T) {
	d := journal.Dir{Kernel: ioctltest.New(ioctltest.Options{}).Border(), Path: "/nowhere"}
	sets, err := d.Sets()
	intents, err2 := d.Intents()
	if err := errors.Join(err, err2); err != nil || len(sets)+len(intents) != 0 {
		t.Error(sets, intents, err)
	}
}

// TestInitIsForRootOnly: records name paths and devices.
func TestInitIsForRootOnly(t *testing.T) {
	k, d := state(t)
	for _, sub := range []string{"", "/sets", "/journal", "/lock"} {
		st, err := k.Border().Stat(d.Path + sub)
		check(t, err)
		if st.Mode != unix.S_IFDIR|0o700 {
			t.Errorf("%s has mode %#o", sub, st.Mode)
		}
	}
	check(t, d.SaveSet(set("nightly", "1")))
	if st, err := k.Border().Stat(d.Path + "/sets/nightly.json"); err != nil || st.Mode != unix.S_IFREG|0o600 {
		t.Errorf("%#o %v", st.Mode, err)
	}
	check(t, d.Init())
	for _, open := range []uint32{0o770, 0o702} {
		check(t, k.Border().Chmod(d.Path, open))
		if err := d.Init(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("mode %#o: %v", open, err)
		}
	}
}

// TestSaveIsDurable: the file is on disk before it gets its name, and the name
// before SaveSet returns.
func TestSaveIsDurable(t *testing.T) {
	k, d := state(t)
	before := k.Calls()
	check(t, d.SaveSet(set("nightly", "1")))
	var got []string
	for _, c := range k.Log()[before:] {
		got = append(got, c.Op+" "+strings.TrimPrefix(c.Path, "/var/lib/dmsnap/sets"))
	}
	want := []string{
		"open /.nightly.json.tmp", "write /.nightly.json.tmp", "fsync /.nightly.json.tmp", "close /.nightly.json.tmp",
		"rename /nightly.json", "open ", "fsync ", "close ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSaveIsAtomic fails every call of a save in turn, alone or with all that
// follow: the record is the old one or the new one.
func TestSaveIsAtomic(t *testing.T) {
	older, newer := set("nightly", "1"), set("nightly", "2")
	newer.Volumes = nil // shorter than the old one
	for _, had := range []bool{false, true} {
		for _, forever := range []bool{false, true} {
			for n := 1; ; n++ {
				k, d := state(t)
				if had {
					check(t, d.SaveSet(older))
				}
				first := k.Calls() + n
				var failed *ioctltest.Call
				k.Fail(func(c ioctltest.Call) error {
					if c.N == first || forever && c.N > first {
						failed = &c
						return unix.ENOSPC
					}
					return nil
				})
				err := d.SaveSet(newer)
				k.Fail(nil)
				if failed == nil {
					check(t, err)
					break
				}
				if err == nil {
					t.Errorf("%v fails and nobody is told", failed)
				}
				got, err := d.LoadSet("nightly")
				switch {
				case errors.Is(err, fs.ErrNotExist) && !had:
				case err != nil:
					t.Errorf("%v fails: %v", failed, err)
				case got.ID == "1":
					same(t, older, got)
				default:
					same(t, newer, got)
				}
				names, err := k.Border().ReadDir(d.Path + "/sets")
				check(t, err)
				if !forever && slices.ContainsFunc(names, func(n string) bool { return n != "nightly.json" }) {
					t.Errorf("%v fails and leaves %v", failed, names)
				}
				if sets, err := d.Sets(); err != nil || len(sets) > 1 {
					t.Errorf("%v fails: %d sets, %v", failed, len(sets), err)
				}
				if strings.Contains(k.Snapshot(), "\nfd ") {
					t.Errorf("%v fails and leaves a descriptor open", failed)
				}
			}
		}
	}
}

// TestLeftoverIsOverwritten: a temporary file of a save that was killed.
func TestLeftoverIsOverwritten(t *testing.T) {
	k, d := state(t)
	k.WriteFile(d.Path+"/sets/.nightly.json.tmp", strings.Repeat("x", 1<<16))
	check(t, d.SaveSet(set("nightly", "1")))
	got, err := d.LoadSet("nightly")
	check(t, err)
	same(t, set("nightly", "1"), got)
}

// TestUnreadableRecords: one that cannot be read is reported, and hides no other.
func TestUnreadableRecords(t *testing.T) {
	whole, err := json.Marshal(set("b", "1"))
	check(t, err)
	for name, row := range map[string]struct {
		text string
		is   error
	}{
		"newer":     {`{"schema_version":2,"name":"b","volumes":"of another kind"}`, journal.ErrNewer},
		"empty":     {"", nil},
		"torn":      {string(whole[:len(whole)/2]), nil},
		"torn late": {string(whole[:len(whole)-1]), nil},
		"twice":     {string(whole) + string(whole), nil},
		"zeros":     {strings.Repeat("\x00", 512), nil},
		"no object": {"[]", nil},
		"type":      {`{"schema_version":1,"id":7}`, nil},
		"no schema": {`{"name":"b","id":"1"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			k, d := state(t)
			check(t, d.SaveSet(set("a", "1")))
			check(t, d.SaveSet(set("c", "1")))
			check(t, d.Begin(intent("1")))
			for _, sub := range []string{"/sets/b.json", "/journal/0-create.json"} {
				k.WriteFile(d.Path+sub, row.text)
			}
			sets, err := d.Sets()
			unreadable(t, err, "/sets/b.json", row.is)
			same(t, []journal.Set{set("a", "1"), set("c", "1")}, sets)
			intents, err := d.Intents()
			check(t, err)
			unreadable(t, intents[0].Unread, "/journal/0-create.json", row.is)
			same(t, []journal.Intent{{ID: "0", Op: "create", Unread: intents[0].Unread}, intent("1")}, intents)
			_, err = d.LoadSet("b")
			unreadable(t, err, "/sets/b.json", row.is)
		})
	}
}

func unreadable(t *testing.T, err error, file string, is error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), file) || is != nil && !errors.Is(err, is) || is == nil && errors.Is(err, journal.ErrNewer) {
		t.Errorf("%s: %v", file, err)
	}
}

// TestForeignFiles in the directories are nobody's records.
func TestForeignFiles(t *testing.T) {
	k, d := state(t)
	for _, name := range []string{".a.json.tmp", ".b.json", "README", "c.json~"} {
		k.WriteFile(d.Path+"/sets/"+name, "{")
	}
	if sets, err := d.Sets(); err != nil || len(sets) != 0 {
		t.Error(sets, err)
	}
}
