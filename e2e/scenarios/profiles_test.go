package scenarios

import (
	"os"
	"path/filepath"
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
