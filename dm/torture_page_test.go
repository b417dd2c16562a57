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
	m := New(Options{Kernel: k.Border(), StateDir: "/state", BusyTimeout: time.Nanosecond})
	for _, op := range underTorture() {
		err := (&torture{m: m}).prepareSets(op)
		check(t, err)
		want := op.steps(t, m)
		got, there := page[op.name]
		if there && !slices.Equal(got, want) {
			t.Errorf("%s: run `just torture`: the page differs from the plan\n%s", op.name, diff(got, want))
		}
		delete(page, op.name)
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
