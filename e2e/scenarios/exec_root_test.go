package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestExecRoot: the image of the root is the root of the command, with everything
// that is mounted below it, and the number it had the last time.
func TestExecRoot(t *testing.T) {
	lab.Need(t)
	disks := lab.Disks(t, 3)
	root := lab.NewVolume(t, "root", "ext4", disks[0], disks[1], 0, 200)
	home := lab.NewVolume(t, "homes", "xfs", disks[0], disks[1], 200, 310)
	tool := lab.EnterRoot(t, root.Dir)
	for _, dir := range []string{"/home", "/live", "/repo", "/tmp"} {
		lab.Run(t, "mkdir", "-p", dir)
	}
	lab.Run(t, "mount", home.Device, "/home")
	t.Cleanup(func() { lab.Run(t, "umount", "/home") })
	lab.Run(t, "mount", "-t", "tmpfs", "live", "/live")
	t.Cleanup(func() { lab.Run(t, "umount", "/live") })
	writeLine(t, "/file", "root before")
	writeLine(t, "/home/file", "home before")

	script := `
		for f in /file /home/file; do echo after > /proc/1/root$f; cat $f; done
		touch /new 2>/dev/null || echo root is read-only
		touch /home/new 2>/dev/null || echo home is read-only
		touch /repo/new /tmp/new && echo repo and tmp are writable
		stat -c %d / /home
		grep -c ' /proc ' /proc/self/mountinfo
		ls -A /.dmsnap 2>/dev/null | wc -l
		df / | tail -1 | awk '{print $NF}'`
	var last string
	for round := range 2 {
		writeLine(t, "/file", "root before")
		writeLine(t, "/home/file", "home before")
		out := tool.OK("exec", "/", "/home", "--store", "/="+root.Store, "--store", "/home="+home.Store, "--rw", "/repo", "--json-file", "/verdict", "--", "sh", "-c", script)
		lines := strings.Split(out, "\n")
		if want := "root before\nhome before\nroot is read-only\nhome is read-only\nrepo and tmp are writable\n"; !strings.HasPrefix(out, want) || len(lines) < 11 {
			t.Fatalf("the command saw\n%swant\n%s", out, want)
		}
		if lines[7] != "1" || lines[8] != "0" || lines[9] != "/" {
			t.Errorf("the command saw\n%s", out)
		}
		if numbers := strings.Join(lines[5:7], " "); round > 0 && numbers != last {
			t.Errorf("device numbers %s, and before %s", numbers, last)
		} else {
			last = numbers
		}
		verdict, err := os.ReadFile("/verdict")
		if err != nil || !strings.Contains(string(verdict), `"good":true`) || !strings.Contains(string(verdict), `"laid":["/","/home"`) || !strings.Contains(string(verdict), `"renumbered":[]`) {
			t.Errorf("verdict %s, %v", verdict, err)
		}
	}
	if now := readText(t, "/file"); now != "after\n" {
		t.Errorf("outside the file has %q", now)
	}
	for _, dir := range []string{"/repo", "/tmp"} {
		if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
			t.Errorf("what was written to %s: %v", dir, err)
		}
	}
}
