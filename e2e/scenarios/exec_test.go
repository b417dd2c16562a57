package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestExec: a command sees the instant of its start at the original path, however
// the live filesystem changes, and nothing is left of it.
func TestExec(t *testing.T) {
	lab.Need(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 100)
	file := filepath.Join(v.Dir, "file")
	writeLine(t, file, "before")
	below := filepath.Join(v.Dir, "below")
	bound := filepath.Join(t.TempDir(), "bound")
	lab.Run(t, "mkdir", "-p", below, bound, filepath.Join(v.Dir, "sub"))
	writeLine(t, filepath.Join(v.Dir, "sub", "in"), "bound before")
	lab.Run(t, "mount", "-t", "tmpfs", "below", below)
	t.Cleanup(func() { lab.Run(t, "umount", below) })
	writeLine(t, filepath.Join(below, "other"), "live")
	lab.Run(t, "mount", "--bind", filepath.Join(v.Dir, "sub"), bound)
	t.Cleanup(func() { lab.Run(t, "umount", bound) })

	t.Run("image at the path", func(t *testing.T) {
		// Beside the namespace, through the first process, everything stays live.
		out := tool.OK(execOf(v, "sh", "-c", `
			echo after > /proc/1/root`+file+`; echo bound after > /proc/1/root`+v.Dir+`/sub/in
			cat `+file+` `+bound+`/in `+below+`/other
			touch `+v.Dir+`/new 2>/dev/null || echo read-only
			echo $DMSNAP_DIR {dir} {dir:`+v.Dir+`}`)...)
		want := "before\nbound before\nlive\nread-only\n" + strings.Repeat(v.Dir+" ", 2) + v.Dir + "\n"
		if out != want {
			t.Errorf("the command saw\n%swant\n%s", out, want)
		}
		if now := readText(t, file); now != "after\n" {
			t.Errorf("outside of the command the file has %q", now)
		}
		if sets := tool.OK("list", "--json"); !strings.Contains(sets, `"sets":[]`) {
			t.Errorf("left: %s", sets)
		}
	})
	t.Run("statuses", func(t *testing.T) {
		for _, c := range []struct {
			want    int
			command []string
		}{
			{0, []string{"true"}},
			{7, []string{"sh", "-c", "exit 7"}},
			{128 + 9, []string{"sh", "-c", "kill -KILL $$"}},
			{127, []string{"no-such-program"}},
			{126, []string{"/etc/passwd"}},
		} {
			if _, stderr, code := tool.Try(execOf(v, c.command...)...); code != c.want {
				t.Errorf("%v: exit %d, want %d\n%s", c.command, code, c.want, stderr)
			}
		}
	})
}

func execOf(v lab.Volume, command ...string) []string {
	return append([]string{"exec", v.Dir, "--store", v.Store, "--"}, command...)
}

func writeLine(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
