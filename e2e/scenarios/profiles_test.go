package scenarios

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// profile writes one, and gives the flags by which dmsnap finds it.
func profile(t *testing.T, name string, lines ...string) []string {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "dmsnap.conf")
	if err := os.MkdirAll(filepath.Join(dir, "profiles.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{conf: "", filepath.Join(dir, "profiles.d", name+".conf"): strings.Join(lines, "\n")} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--config", conf}
}

// TestProfileRun: a profile's command sees the snapshot, its status is that of the run,
// and whoever is to be told is.
func TestProfileRun(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 100)
	file, told := filepath.Join(v.Dir, "file"), filepath.Join(t.TempDir(), "told")
	writeLine(t, file, "before")
	flags := profile(t, "home", "origin = "+v.Dir, "store = "+v.Store,
		"command = sh -c 'echo after > /proc/1/root"+file+"; cat "+file+"; exit 7'",
		"on-failure = sh -c 'echo $DMSNAP_PROFILE $DMSNAP_EXIT > "+told+"'")
	stdout, stderr, code := tool.Try(append(flags, "run", "home")...)
	if code != 7 || stdout != "before\n" {
		t.Errorf("exit %d, want 7; the command saw %q, want before\n%s", code, stdout, stderr)
	}
	if text := readText(t, told); text != "home 7\n" {
		t.Errorf("told %q", text)
	}
	if sets := tool.OK("list", "--json"); !strings.Contains(sets, `"sets":[]`) {
		t.Errorf("left: %s", sets)
	}
}

// TestProfileKeeps: sets of a profile with keep rules stay, read through the newest one, and
// go when no rule keeps them; one that is mounted stays.
func TestProfileKeeps(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 200)
	lab.Format(t, "ext4", v.Store)
	file := filepath.Join(v.Dir, "file")
	flags := profile(t, "home", "origin = "+v.Dir, "store = file:"+lab.Mount(t, v.Store), "size = 16m", "keep = last:2")
	run := func(args ...string) string { return tool.OK(append(flags, args...)...) }
	var names []string
	for n := range 3 {
		writeLine(t, file, fmt.Sprint("at ", n))
		if n == 1 {
			tool.OK("mount", names[0], t.TempDir())
		}
		run("run", "home")
		names = setsOf(t, tool)
	}
	if len(names) != 3 {
		t.Errorf("%q: the first is mounted, and the others are the last two", names)
	}
	if set := tool.OK("show", names[0], "--json"); !strings.Contains(set, `"reads_through":"`+names[1]+`"`) {
		t.Errorf("not chained: %s", set)
	}
	tool.OK("umount", names[0])
	if out := run("prune", "home", "--dry-run"); !strings.Contains(out, names[0]) || !strings.Contains(out, "goes") {
		t.Errorf("planned\n%s", out)
	}
	run("prune", "home")
	if now := setsOf(t, tool); !slices.Equal(now, names[1:]) {
		t.Errorf("left %q, want %q", now, names[1:])
	}
	second := t.TempDir()
	tool.OK("mount", names[1], second)
	if text := readText(t, filepath.Join(second, "file")); text != "at 1\n" {
		t.Errorf("the second set has %q", text)
	}
	tool.OK("umount", names[1])
	tool.OK("remove", names[1], names[2])
}

// setsOf are the names of all sets, which profiles make in the order of time.
func setsOf(t *testing.T, tool *lab.Tool) (names []string) {
	t.Helper()
	var out struct {
		Sets []struct {
			Name  string
			Layer bool
		}
	}
	if err := json.Unmarshal([]byte(tool.OK("list", "--json")), &out); err != nil {
		t.Fatal(err)
	}
	for _, s := range out.Sets {
		if !s.Layer {
			names = append(names, s.Name)
		}
	}
	return names
}
