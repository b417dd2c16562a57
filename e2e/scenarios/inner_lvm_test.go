package scenarios

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestPVInsideAnOrigin changes the volume group inside an origin while a set lives: lvm2 refuses, create and doctor say what it
// must be told, and with just that all works, and nothing is said any more.
func TestPVInsideAnOrigin(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	keepFile(t, "/etc/lvm/lvmlocal.conf")
	// dmeventd would outlive the test.
	lab.Run(t, "sh", "-c", "echo 'activation/monitoring = 0' > /etc/lvm/lvmlocal.conf")
	disks := lab.Disks(t, 2)
	phys := lab.Linear(t, "phys", disks[0], 16, 200) // at the beginning of the disk lvm2 would see it there too
	lab.Run(t, "vgcreate", "-qq", "inner", phys)
	t.Cleanup(func() { lab.Run(t, "vgremove", "-qq", "-f", "inner"); lab.Run(t, "pvremove", "-qq", phys) })
	lab.Run(t, "lvcreate", "-qq", "-y", "-L", "32M", "-n", "data", "inner")
	tool := lab.NewTool(t)
	_, stderr, code := tool.Try("create", phys, "--store", disks[1], "--name", "one")
	if code != 0 || !strings.Contains(stderr, "lvmlocal.conf") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	t.Cleanup(func() { tool.Try("remove", "one") })
	commands := []string{
		"lvcreate -y -L 16M -n more inner", "lvextend -L +16M inner/more", "lvcreate -y -s -L 8M -n snap inner/more",
		"vgchange -ay inner", "pvchange --addtag seen " + phys, "lvremove -f inner/snap inner/more",
	}
	if out, err := exec.Command("sh", "-c", commands[0]).CombinedOutput(); err == nil {
		t.Errorf("lvm2 needs no filter: %s", out)
	}
	hint := note(t, tool, phys)
	if !strings.Contains(stderr, `\"r|^/dev/mapper/dmsnap-|\"`) && !strings.Contains(stderr, `"r|^/dev/mapper/dmsnap-|"`) {
		t.Errorf("create does not say the line: %s", stderr)
	}
	lab.Run(t, "sh", "-c", hint)
	for _, c := range commands {
		lab.Run(t, "sh", "-c", c)
	}
	if hint := note(t, tool, phys); hint != "" {
		t.Errorf("still said: %s", hint)
	}
	tool.OK("remove", "one")
}

// note is the hint that doctor gives for an origin that can be cut all the same.
func note(t *testing.T, tool *lab.Tool, origin string) string {
	t.Helper()
	var out struct {
		Reports []struct {
			Origins []struct {
				Possible bool
				Notes    []struct{ Hint string }
			}
		}
	}
	if err := json.Unmarshal([]byte(tool.OK("doctor", origin, "--json")), &out); err != nil {
		t.Fatal(err)
	}
	o := out.Reports[0].Origins[0]
	if !o.Possible {
		t.Errorf("doctor: %+v", o)
	}
	if len(o.Notes) == 0 {
		return ""
	}
	return o.Notes[0].Hint
}

// keepFile puts a file back when the test is over.
func keepFile(t *testing.T, path string) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, old, 0o644); err != nil {
			t.Error(err)
		}
	})
}
