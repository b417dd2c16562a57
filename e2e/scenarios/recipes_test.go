package scenarios

import (
	"os"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestRecipes runs the commands of each recipe, and those of the README, as they
// stand, with the real program. What they restore is what was there.
func TestRecipes(t *testing.T) {
	for _, c := range []struct{ program, page string }{
		{"the README", "../../README.md"},
		{"restic", "../../docs/recipes/restic.md"},
		{"borg", "../../docs/recipes/borg.md"},
		{"borgmatic", "../../docs/recipes/borgmatic.md"},
		{"rsync", "../../docs/recipes/rsync.md"},
		{"tar", "../../docs/recipes/tar.md"},
		{"rclone", "../../docs/recipes/rclone.md"},
	} {
		t.Run(c.program, func(t *testing.T) {
			lab.Long(t)
			lab.Need(t)
			backupPrograms(t)
			t.Setenv("HOME", t.TempDir())
			t.Setenv("TMPDIR", "/tmp")
			lab.Group(t, "vg", lab.Disks(t, 1)[0])
			mountAt(t, lab.LogicalVolume(t, "vg", "home", "-L", "400M"), "/home")
			before := targetsNow(t)
			said := follow(t, c.page, "A backup")
			if after := targetsNow(t); after != before {
				t.Errorf("targets before:\n%safter:\n%s", before, after)
			}
			if text, err := os.ReadFile("/backup/restored/home/precious"); err != nil || string(text) != "data" {
				t.Errorf("restored %q, %v\n%s", text, err, said)
			}
		})
	}
}
