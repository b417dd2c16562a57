package dm

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestTorturePage: the tables of docs/torture.md have the steps of the plans. An
// operation that has not been run in full is not on the page.
func TestTorturePage(t *testing.T) {
	hostOnly(t)
	text, err := os.ReadFile("../docs/torture.md")
	check(t, err)
	page := pageSteps(string(text))
	if len(page) == 0 {
		t.Error("the page has no table")
	}
	k := ioctltest.New(ioctltest.Options{})
	for i, disk := range []string{"vda", "vdb"} {
		k.AddDisk(disk, ioctl.DevNo{Major: 252, Minor: uint32(16 * i)}, 1024*mib)
	}
	part := func(name string, minor, at int) ioctl.DevNo {
		return k.AddDM(name, "", ioctltest.Row{Length: 196608, Type: "linear", Params: fmt.Sprintf("252:%d %d", minor, at)})
	}
	for i, name := range []string{"one", "two"} {
		k.Mount(part(name, 0, 196608*i), "/mnt/"+name, "ext4")
		part(name+"-cow", 16, 393216*i)
		part(name+"-first", 16, 393216*i+196608)
		part(name+"-newer", 16, 393216*(2+i))
	}
	m := New(Options{Kernel: k.Border(), StateDir: "/state", BusyTimeout: time.Nanosecond, NoGuard: true})
	for _, op := range underTorture() {
		err := (&torture{m: m}).prepareSets(op)
		check(t, err)
		want := op.steps(t, m)
		samePage(t, page, op.name, want)
	}
	plain := fakePlainTorture(t)
	for _, op := range underPlainTorture() {
		samePage(t, page, op.name, plain.steps(t, op))
	}
	for name := range page {
		t.Errorf("no operation %q", name)
	}
	recovery, err := os.ReadFile("../docs/recovery.md")
	check(t, err)
	if sum := summary(string(text)); sum == "" || !strings.Contains(string(recovery), sum) {
		t.Errorf("docs/recovery.md has another summary:\n%s", sum)
	}
}

// samePage compares an operation's table, if there is one, and strikes it out.
func samePage(t *testing.T, page map[string][]string, op string, want []string) {
	t.Helper()
	got, there := page[op]
	if there && !slices.Equal(got, want) {
		t.Errorf("%s: run `just torture`: the page differs from the plan\n%s", op, diff(got, want))
	}
	delete(page, op)
}

// fakePlainTorture has the partition of TestTortureAttach on the fake kernel.
func fakePlainTorture(t *testing.T) *plainTorture {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{Interposer: true})
	k.AddDisk("vda", ioctl.DevNo{Major: 252}, 128*mib, ioctltest.Partition(1, mib, 64*mib))
	k.AddDisk("vdb", ioctl.DevNo{Major: 252, Minor: 16}, 128*mib)
	k.AddDM("cow", "", ioctltest.Row{Length: 96 << 11, Type: "linear", Params: "252:16 0"})
	k.Mount(ioctl.DevNo{Major: 252, Minor: 1}, "/mnt/vda1", "ext4")
	m := New(Options{Kernel: k.Border(), StateDir: "/state", BusyTimeout: time.Nanosecond, NoGuard: true})
	return &plainTorture{torture: torture{m: m}, device: "/dev/vda1", cow: "/dev/mapper/cow"}
}

// summary is the table that counts outcomes.
func summary(page string) string {
	i := strings.Index(page, "| operation |")
	if i < 0 {
		return ""
	}
	table, _, _ := strings.Cut(page[i:], "\n\n")
	return strings.TrimSpace(table)
}

// pageSteps reads the tables of the page back.
func pageSteps(page string) map[string][]string {
	steps := map[string][]string{}
	op := ""
	for l := range strings.Lines(page) {
		if name, ok := strings.CutPrefix(l, "## "); ok {
			op = strings.ToLower(name[:1]) + strings.TrimSpace(name[1:])
		}
		cells := strings.Split(l, "|")
		if len(cells) < 4 {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(cells[1])); err == nil && n == len(steps[op])+1 {
			steps[op] = append(steps[op], strings.Trim(cells[2], " `"))
		}
	}
	return steps
}
