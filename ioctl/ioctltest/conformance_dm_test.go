package ioctltest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func deviceCases() []conformanceCase {
	return []conformanceCase{
		{"create and names", confNames},
		{"uuid once", confUUID},
		{"disk at first load", confDisk},
		{"minor of choice", confMinor},
		{"open counts", confOpens},
		{"deferred removal", confDeferred},
		{"resume without table", confResumeEmpty},
		{"suspend twice and remove", confSuspended},
		{"message without table", confMessage},
		{"events", confEvents},
		{"era", confEra},
	}
}

func confNames(b *bench) {
	b.create("one")
	_, err := b.c.Create(confPrefix+"one", "", 0, ioctl.DevNo{})
	b.want(unix.EBUSY, err)
	_, err = b.c.Rename(confPrefix+"absent", confPrefix+"two", ioctl.Event{})
	b.want(unix.ENXIO, err)
	_, err = b.c.Rename(confPrefix+"one", confPrefix+"one", ioctl.Event{})
	b.want(unix.EBUSY, err)
	info, err := b.c.Rename(confPrefix+"one", confPrefix+"two", ioctl.Event{})
	b.ok(err)
	same(b, "event of a rename without disk", info.UeventGenerated, false)
	_, err = b.c.Status(conf("one"))
	b.want(unix.ENXIO, err)
	same(b, "not found", errors.Is(err, ioctl.ErrNotFound), true)
	b.create("one")
	_, err = b.c.Rename(confPrefix+"one", confPrefix+"two", ioctl.Event{})
	b.want(unix.EBUSY, err)
	b.want(unix.ENXIO, b.remove("absent"))
	b.gone("one")
	b.want(unix.ENXIO, b.remove("one"))
}

func confUUID(b *bench) {
	const uuid = "DMSNAP-conf-1"
	info, err := b.c.Create(confPrefix+"one", uuid, 0, ioctl.DevNo{})
	b.ok(err)
	same(b, "uuid", info.UUID, uuid)
	_, err = b.c.Create(confPrefix+"two", uuid, 0, ioctl.DevNo{})
	b.want(unix.EBUSY, err)
	b.create("two")
	_, err = b.c.SetUUID(confPrefix+"two", uuid)
	b.want(unix.EBUSY, err)
	_, err = b.c.SetUUID(confPrefix+"two", uuid+"2")
	b.ok(err)
	_, err = b.c.SetUUID(confPrefix+"two", uuid+"3")
	b.want(unix.EINVAL, err)
	got, err := b.c.Status(ioctl.ID{UUID: uuid + "2"})
	b.ok(err)
	same(b, "name by uuid", got.Name, confPrefix+"two")
	got, err = b.c.Status(ioctl.ID{Dev: got.Dev})
	b.ok(err)
	same(b, "uuid by number", got.UUID, uuid+"2")
}

func confDisk(b *bench) {
	info := b.create("disk")
	sys := "/sys/dev/block/" + info.Dev.String()
	_, err := b.k.Stat(sys)
	b.want(unix.ENOENT, err)
	b.ok(b.load("disk", spec(2048, "linear", b.a, 0)))
	same(b, "size before resume", b.text(sys+"/size"), "0")
	same(b, "name", b.text(sys+"/dm/name"), confPrefix+"disk")
	b.ok(b.resume("disk"))
	same(b, "size", b.text(sys+"/size"), "2048")
	same(b, "suspended", b.text(sys+"/dm/suspended"), "0")
	b.ok(b.suspend("disk"))
	same(b, "suspended", b.text(sys+"/dm/suspended"), "1")
	b.ok(b.resume("disk"))
	slaves, err := b.k.ReadDir(sys + "/slaves")
	b.ok(err)
	same(b, "slaves", strings.Join(slaves, " "), strings.TrimPrefix(b.env.A, "/dev/"))
	holders, err := b.k.ReadDir("/sys/dev/block/" + b.a.String() + "/holders")
	b.ok(err)
	same(b, "holders", strings.Join(holders, " "), fmt.Sprintf("dm-%d", info.Dev.Minor))
	removed := b.gone("disk")
	same(b, "event of the removal", removed.UeventGenerated, true)
	_, err = b.k.Stat(sys)
	b.want(unix.ENOENT, err)
	b.create("disk")
	removed = b.gone("disk")
	same(b, "event of a removal without disk", removed.UeventGenerated, false)
}

func (b *bench) text(path string) string {
	b.Helper()
	text, err := b.k.ReadFile(path)
	b.ok(err)
	return strings.TrimSpace(string(text))
}

func confMinor(b *bench) {
	info, err := b.c.Create(confPrefix+"minor", "", ioctl.PersistentDev, ioctl.DevNo{Minor: 77})
	b.ok(err)
	same(b, "minor", info.Dev.Minor, 77)
	_, err = b.c.Create(confPrefix+"other", "", ioctl.PersistentDev, ioctl.DevNo{Minor: 77})
	b.want(unix.ENXIO, err)
}

func confOpens(b *bench) {
	low := b.live("low", spec(4096, "linear", b.a, 0))
	b.opens("opens", "low", 0)
	f := b.open(dmNode(low.Dev), unix.O_RDONLY)
	b.opens("opens", "low", 1)
	b.want(unix.EBUSY, b.remove("low"))
	b.ok(f.Close())
	b.create("high")
	b.ok(b.load("high", spec(2048, "linear", low.Dev, 0)))
	b.opens("opens by an inactive table", "low", 1)
	b.ok(b.resume("high"))
	b.ok(b.load("high", spec(1024, "linear", low.Dev, 0)))
	b.opens("opens by both tables of one device", "low", 1)
	b.ok(b.c.Load(conf("high"), ioctl.ReadOnly, []ioctl.Spec{spec(1024, "linear", low.Dev, 0)}))
	b.opens("opens in two modes", "low", 2)
	b.ok(b.c.Clear(conf("high")))
	b.live("next", spec(2048, "linear", low.Dev, 2048))
	b.opens("opens by two devices", "low", 2)
	b.want(unix.EBUSY, b.remove("low"))
}

func confDeferred(b *bench) {
	low := b.live("low", spec(4096, "linear", b.a, 0))
	b.live("high", spec(2048, "linear", low.Dev, 0))
	_, err := b.c.Remove(conf("low"), ioctl.DeferredRemove, ioctl.Event{})
	b.ok(err)
	same(b, "deferred", b.info("low").DeferredRemove, true)
	_, err = b.c.Message(conf("low"), 0, "@cancel_deferred_remove")
	b.ok(err)
	same(b, "deferred", b.info("low").DeferredRemove, false)
	_, err = b.c.Remove(conf("low"), ioctl.DeferredRemove, ioctl.Event{})
	b.ok(err)
	b.gone("high")
	for range 100 { // the removal runs in a worker
		if _, err = b.c.Status(conf("low")); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.want(unix.ENXIO, err)
}

func confResumeEmpty(b *bench) {
	b.create("empty")
	b.want(0, b.resume("empty"))
	b.ok(b.suspend("empty"))
	same(b, "suspended", b.info("empty").Suspended, true)
	b.want(unix.EINVAL, b.resume("empty"))
	b.ok(b.load("empty", spec(2048, "zero")))
	b.ok(b.resume("empty"))
	b.want(0, b.resume("empty"))
}

func confSuspended(b *bench) {
	b.live("stop", spec(2048, "linear", b.a, 0))
	b.ok(b.suspend("stop"))
	b.ok(b.suspend("stop"))
	same(b, "suspended", b.info("stop").Suspended, true)
	b.gone("stop")
}

func confMessage(b *bench) {
	b.create("mute")
	_, err := b.c.Message(conf("mute"), 0, "hello")
	same(b, "refused", err != nil, true)
	if b.ver.atLeast(6, 12) {
		b.want(unix.EINVAL, err)
	}
	b.ok(b.load("mute", spec(2048, "linear", b.a, 0)))
	b.ok(b.resume("mute"))
	_, err = b.c.Message(conf("mute"), 0, "hello")
	b.want(unix.EINVAL, err)
	_, err = b.c.Message(conf("absent"), 0, "hello")
	b.want(unix.ENXIO, err)
}

func confEvents(b *bench) {
	b.ok(b.c.ArmPoll())
	b.poll("armed", false)
	b.create("event")
	b.poll("created", true)
	b.ok(b.c.ArmPoll())
	b.ok(b.load("event", spec(2048, "linear", b.a, 0)))
	b.ok(b.c.ArmPoll())
	b.ok(b.resume("event"))
	b.poll("swapped", true)
	b.ok(b.c.ArmPoll())
	b.ok(b.suspend("event"))
	b.ok(b.resume("event"))
	b.poll("plain resume", false)
	before := b.info("event").EventNr
	_, err := b.c.Rename(confPrefix+"event", confPrefix+"later", ioctl.Event{})
	b.ok(err)
	b.poll("renamed", true)
	same(b, "event number", b.info("later").EventNr, before+1)
	info, specs, err := b.c.Wait(conf("later"), before)
	b.ok(err)
	same(b, "targets of the wait", len(specs), 1)
	same(b, "event number of the wait", info.EventNr, before+1)
}

func (b *bench) poll(what string, want bool) {
	b.Helper()
	ready, err := b.c.Poll(0)
	b.ok(err)
	same(b, what, ready, want)
}

func confEra(b *bench) {
	b.want(unix.EINVAL, b.tryLoad("badera", spec(2048, "era", b.b, b.a, 7)))
	b.live("era", spec(8192, "era", b.b, b.a, 64))
	fields := strings.Fields(b.status("era"))
	same(b, "fields", len(fields), 4)
	same(b, "block and era", fields[0]+" "+fields[2]+" "+fields[3], "8 1 -")
	same(b, "line", b.line("era", 0), fmt.Sprintf("era %v %v 64", b.b, b.a))
	for _, step := range []struct {
		message string
		want    unix.Errno
		era     string
	}{
		{"checkpoint", 0, "2"},
		{"drop_metadata_snap", unix.EINVAL, "2"},
		{"take_metadata_snap", 0, "3"},
		{"take_metadata_snap", unix.EINVAL, "3"},
		{"drop_metadata_snap", 0, "3"},
		{"nonsense", unix.EINVAL, "3"},
	} {
		_, err := b.c.Message(conf("era"), 0, step.message)
		b.want(step.want, err)
		same(b, step.message, strings.Fields(b.status("era"))[2], step.era)
	}
	b.ok(b.suspend("era"))
	b.ok(b.resume("era"))
	same(b, "era after a resume", strings.Fields(b.status("era"))[2], "4")
}

// tryLoad loads a table into a device of its own.
func (b *bench) tryLoad(id string, s ioctl.Spec) error {
	b.Helper()
	b.create(id)
	err := b.load(id, s)
	b.gone(id)
	return err
}

func listCases() []conformanceCase {
	return []conformanceCase{
		{"list filters", confList},
		{"replies longer than the first buffer", confLong},
		{"target versions", confVersions},
	}
}

func confList(b *bench) {
	for _, id := range []string{"b", "a1", "a2"} {
		_, err := b.c.Create(confPrefix+id, "DMSNAP-conf-"+id, 0, ioctl.DevNo{})
		b.ok(err)
	}
	b.create("a3")
	same(b, "all of ours", b.listed(ioctl.ID{Name: confPrefix}), "a1 a2 a3 b")
	same(b, "by name", b.listed(ioctl.ID{Name: confPrefix + "a"}), "a1 a2 a3")
	same(b, "by uuid", b.listed(ioctl.ID{UUID: "DMSNAP-conf-a"}), "a1 a2")
	same(b, "none", b.listed(ioctl.ID{Name: confPrefix + "zzz"}), "")
	entries, err := b.c.List(ioctl.ID{Name: confPrefix + "b"})
	b.ok(err)
	same(b, "uuid", entries[0].UUID, "DMSNAP-conf-b")
}

func (b *bench) listed(prefix ioctl.ID) string {
	b.Helper()
	entries, err := b.c.List(prefix)
	b.ok(err)
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimPrefix(e.Name, confPrefix))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func confLong(b *bench) {
	var rows []ioctl.Spec
	for i := range uint64(1000) {
		rows = append(rows, ioctl.Spec{Start: 8 * i, Length: 8, Type: "linear", Params: fmt.Sprintf("%v %d", b.a, 8*(999-i))})
	}
	b.live("long", rows...)
	_, got, err := b.c.Table(conf("long"), 0)
	b.ok(err)
	same(b, "rows", len(got), len(rows))
	same(b, "last row", got[999].Params, rows[999].Params)
	_, err = b.c.Deps(conf("long"), 0)
	b.ok(err)
	for i := range 120 {
		_, err := b.c.Create(fmt.Sprintf("%smany-%03d", confPrefix, i), fmt.Sprintf("DMSNAP-conf-%0100d", i), 0, ioctl.DevNo{})
		b.ok(err)
	}
	entries, err := b.c.List(ioctl.ID{Name: confPrefix + "many"})
	b.ok(err)
	same(b, "entries", len(entries), 120)
	for _, e := range entries {
		_, err := b.c.Remove(ioctl.ID{Dev: e.Dev}, 0, ioctl.Event{})
		b.ok(err)
	}
}

func confVersions(b *bench) {
	v, err := b.c.TargetVersion("snapshot-origin")
	b.ok(err)
	same(b, "origin", fmt.Sprint(v.Version.Major, v.Version.Minor, v.Version.Patch), "1 9 0")
	_, err = b.c.TargetVersion("nonsense")
	b.want(unix.EINVAL, err)
	all, err := b.c.TargetVersions()
	b.ok(err)
	var names []string
	for _, v := range all {
		names = append(names, v.Name)
	}
	for _, want := range []string{"linear", "snapshot", "snapshot-merge", "snapshot-origin"} {
		same(b, want, slices.Contains(names, want), true)
	}
}
