package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestFilesystems cuts what is not frozen like ext4 and xfs, and says what it could prove and mount.
func TestFilesystems(t *testing.T) {
	lab.Wide(t)
	for fstype, want := range map[string]struct {
		create, mount int
		consistency   string
		reason        string
	}{
		"btrfs": {0, 7, "filesystem", "one filesystem"}, // beside its twin it cannot be mounted
		"vfat":  {9, 0, "crash", ""},                    // frozen by the suspend, which proves nothing
		"f2fs":  {0, 0, "filesystem", ""},
		"":      {0, 7, "unmounted", "no known filesystem"}, // raw
	} {
		name := "raw"
		if fstype != "" {
			name = fstype
		}
		t.Run(name, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 2)
			v := lab.NewVolume(t, "fs", fstype, disks[0], disks[1], 0, 160)
			if v.Dir != "" {
				write(t, v.Dir, "old")
			}
			tool := lab.NewTool(t)
			out, stderr, code := tool.Try("create", v.Device, "--store", v.Store, "--name", "one", "--json")
			if code != want.create {
				t.Fatalf("create: exit %d, want %d: %s%s", code, want.create, out, stderr)
			}
			if got := tool.Show("one").Receipt.Consistency; got != want.consistency {
				t.Errorf("consistency %q, want %q", got, want.consistency)
			}
			if v.Dir != "" {
				write(t, v.Dir, "new")
			}
			dir := t.TempDir()
			if _, stderr, code := tool.Try("mount", "one", dir); code != want.mount || !strings.Contains(stderr, want.reason) {
				t.Errorf("mount: exit %d, want %d because %q: %s", code, want.mount, want.reason, stderr)
			} else if code == 0 {
				if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(b) != "old" {
					t.Errorf("the image holds %q, %v", b, err)
				}
				tool.OK("umount", "one")
			}
			tool.OK("remove", "one")
		})
	}
}

// write replaces a file and has it on the medium.
func write(t *testing.T, dir, text string) {
	t.Helper()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "sync", "-f", name)
}
