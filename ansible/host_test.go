package ansible_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestModulesOnHost has the modules cut, mount and remove sets of a volume in use.
func TestModulesOnHost(t *testing.T) {
	lab.Need(t)
	lab.Long(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "data", "ext4", disks[0], disks[1], 0, 64)
	if err := os.WriteFile(filepath.Join(v.Dir, "data"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := lab.Run(t, "dmsetup", "table")
	dir := t.TempDir()
	play := exec.Command("ansible-playbook", "-i", "localhost,",
		"-e", "dmsnap="+os.Getenv("DMSNAP_BIN"), "-e", "state="+dir+"/state", "-e", "image="+dir+"/image",
		"-e", "origin="+v.Dir, "-e", "store="+v.Store, "tests/integration/host.yml")
	play.Env = environment(t, layOut(t))
	if out, err := play.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}
