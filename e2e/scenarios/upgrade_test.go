package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// upgraded is a host on which two versions of dmsnap meet.
type upgraded struct {
	v        lab.Volume
	old, new *lab.Tool
	w        *lab.Writer
	tables   string
}

func newUpgraded(t *testing.T) *upgraded {
	t.Helper()
	lab.Need(t)
	disks := lab.Disks(t, 2)
	u := &upgraded{v: lab.NewVolume(t, "kept", "ext4", disks[0], disks[1], 0, 256), new: lab.NewTool(t)}
	u.old = lab.NewToolOld(t, u.new)
	u.tables = lab.Run(t, "dmsetup", "table")
	u.w = lab.StartWriter(t, slots, filepath.Join(u.v.Dir, "ring"))
	u.w.WaitFor(t, 5)
	return u
}

// kinds are sets as users have them: arguments of create behind the origin.
func (u *upgraded) kinds() map[string][]string {
	return map[string][]string{
		"device":     {"--store", u.v.Store},
		"persistent": {"--store", u.v.Store, "--persistent"},
		"file":       {"--store", "file:" + u.v.Dir, "--size", "32m"},
		"memory":     {"--store", "ram", "--size", "16m"},
	}
}

// end expects a host without a set, whose writer noticed nothing.
func (u *upgraded) end(t *testing.T) {
	t.Helper()
	u.w.WaitFor(t, slots)
	u.w.Stop(t)
	if after := lab.Run(t, "dmsetup", "table"); after != u.tables {
		t.Errorf("tables before:\n%safter:\n%s", u.tables, after)
	}
	nothingLeft(t, u.v.Dir, "ring", "lost+found")
	lab.Check(t, filepath.Join(u.v.Dir, "ring"), slots)
	checkFilesystem(t, "ext4", u.v.Device, u.v.Dir)
}

// TestUpgrade: sets that the old version made are shown, mounted, extended and removed by the new one.
func TestUpgrade(t *testing.T) {
	for _, kind := range []string{"device", "persistent", "file", "memory"} {
		t.Run(kind, func(t *testing.T) {
			lab.Long(t)
			u := newUpgraded(t)
			u.old.CreateOnly("before", u.v.Device, u.kinds()[kind]...)
			kept := records(t, u.old, "before")
			u.w.WaitFor(t, slots)
			if set := u.new.Show("before"); set.State != "active" {
				t.Errorf("the set is %s: %s", set.State, set.Volumes[0].Reason)
			}
			if kind != "device" && kind != "persistent" {
				u.new.OK("extend", "before", "+16m")
			}
			u.new.CreateOnly("beside", u.v.Device, "--store", "ram", "--size", "16m")
			u.w.WaitFor(t, slots/4)
			u.new.OK("recover")
			if got := records(t, u.new, "before"); got != kept {
				t.Errorf("the image holds %d records, and held %d", got, kept)
			}
			u.new.OK("remove", "before")
			u.new.OK("remove", "beside")
			u.end(t)
		})
	}
}

// TestDowngrade: the old version understands what the new one made, or refuses it, and harms nothing.
func TestDowngrade(t *testing.T) {
	for _, kind := range []string{"device", "persistent", "file", "memory"} {
		t.Run(kind, func(t *testing.T) {
			lab.Long(t)
			u := newUpgraded(t)
			u.new.CreateOnly("after", u.v.Device, u.kinds()[kind]...)
			kept := records(t, u.new, "after")
			u.w.WaitFor(t, slots)
			for _, args := range [][]string{{"list"}, {"show", "after"}, {"recover"}, {"create", u.v.Device, "--store", "ram", "--size", "16m", "--name", "older"}} {
				out, stderr, code := u.old.Try(args...)
				t.Logf("%v: exit %d\n%s%s", args, code, out, stderr)
			}
			u.w.WaitFor(t, slots/4)
			if set := u.new.Show("after"); set.State != "active" {
				t.Errorf("the set is %s: %s", set.State, set.Volumes[0].Reason)
			}
			if got := records(t, u.new, "after"); got != kept {
				t.Errorf("the image holds %d records, and held %d", got, kept)
			}
			u.old.Try("remove", "older")
			out, stderr, code := u.old.Try("remove", "after")
			t.Logf("remove: exit %d\n%s%s", code, out, stderr)
			u.new.Try("remove", "older")
			if code != 0 {
				u.new.OK("remove", "after")
			}
			u.new.OK("recover")
			u.again(t, kind)
			u.end(t)
		})
	}
}

// again has the new version make the same set once more and remove it: what the old one did not know to remove, labels and the
// directory of the files, is no obstacle and goes with that.
func (u *upgraded) again(t *testing.T, kind string) {
	t.Helper()
	args := u.kinds()[kind]
	if kind == "device" || kind == "persistent" {
		args = append(args, "--force-store")
	}
	u.new.CreateOnly("again", u.v.Device, args...)
	u.w.WaitFor(t, slots/4)
	u.new.OK("remove", "again")
}

// TestUpgradeInterrupted: what a process of the one version left unfinished is ended by the other.
func TestUpgradeInterrupted(t *testing.T) {
	for _, way := range []string{"old, then new", "new, then old"} {
		t.Run(way, func(t *testing.T) {
			lab.Long(t)
			u := newUpgraded(t)
			first, second := u.old, u.new
			if way != "old, then new" {
				first, second = u.new, u.old
			}
			for _, kind := range []string{"device", "file"} {
				first.OK(append([]string{"create", u.v.Device, "--name", "half", "--prepare"}, u.kinds()[kind]...)...)
				killOwner(t, first.State)
				out, stderr, code := second.Try("recover")
				t.Logf("recover: exit %d\n%s%s", code, out, stderr)
				if code != 0 {
					u.new.OK("recover")
				}
			}
			for round := range lab.Rounds(t, 3, 10) {
				create := first.Command(append([]string{"create", u.v.Device, "--name", "half"}, u.kinds()["file"]...)...)
				if err := create.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(round%10) * 100 * time.Millisecond) // anywhere
				_ = create.Process.Kill()
				_ = create.Wait()
				u.w.WaitFor(t, 5)
				if err := second.Run("recover"); err != nil {
					t.Log(err)
				}
				u.new.OK("recover")
				if strings.Contains(u.new.OK("list"), "half") {
					u.new.OK("remove", "half")
				}
			}
			u.again(t, "file")
			u.end(t)
		})
	}
}

var owner = regexp.MustCompile(`"pid":\s*([0-9]+)`)

// killOwner kills the process of the only operation under way.
func killOwner(t *testing.T, state string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(state, "journal", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("operations in progress: %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	m := owner.FindSubmatch(text)
	if m == nil {
		t.Fatalf("whose is it? %s", text)
	}
	pid, err := strconv.Atoi(string(m[1]))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	for gone := fmt.Sprintf("/proc/%d", pid); err == nil; time.Sleep(10 * time.Millisecond) {
		_, err = os.Stat(gone)
	}
}
