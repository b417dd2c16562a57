package ansible_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestModulesOnHost has the modules cut, mount and remove sets of a volume in use.
func TestModulesOnHost(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "data", "ext4", disks[0], disks[1], 0, 64)
	if err := os.WriteFile(filepath.Join(v.Dir, "data"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	play(t, "-i", "here,", "-c", "local", "-e", "ansible_python_interpreter=/usr/bin/python3", "-e", "state="+dir+"/state", "-e", "image="+dir+"/image",
		"-e", "origin="+v.Dir, "-e", "store="+v.Store, "tests/integration/host.yml")
}

// TestFleetOnHost cuts three volumes as if each were on a host of its own, and fails on one.
func TestFleetOnHost(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	inventory := filepath.Join(t.TempDir(), "hosts")
	var hosts strings.Builder
	for i, name := range []string{"one", "two", "three"} {
		v := lab.NewVolume(t, name, "ext4", disks[0], disks[1], i*64, 64)
		fmt.Fprintf(&hosts, "%s ansible_connection=local ansible_python_interpreter=/usr/bin/python3 origin=%s store=%s state=%s\n",
			name, v.Dir, v.Store, filepath.Join(t.TempDir(), "state"))
	}
	if err := os.WriteFile(inventory, []byte(hosts.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	play(t, "-i", inventory, "tests/integration/fleet_host.yml")
}

// play runs a playbook, after which all tables are as before.
func play(t *testing.T, args ...string) {
	t.Helper()
	before := lab.Run(t, "dmsetup", "table")
	cmd := exec.Command("ansible-playbook", append([]string{"-e", "dmsnap=" + os.Getenv("DMSNAP_BIN")}, args...)...)
	cmd.Env = environment(t, layOut(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, " us apart") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}
