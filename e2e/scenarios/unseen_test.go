package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestUsedUnseen takes sets of devices that are in use though no mount of them can be seen: the receipt claims `crash` only.
// The same device at rest is `unmounted`.
func TestUsedUnseen(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "unseen", "ext4", disks[0], disks[1], 0, 64)
	tool := lab.NewTool(t)
	lab.Run(t, "umount", v.Dir)
	defer lab.Run(t, "mount", v.Device, v.Dir) // as its own cleanup finds it
	cut(t, tool, v, 0, "unmounted")

	t.Run("umount -l with an open file", func(t *testing.T) {
		lab.Run(t, "mount", v.Device, v.Dir)
		f, err := os.Create(filepath.Join(v.Dir, "open"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lab.Run(t, "umount", "-l", v.Dir)
		cut(t, tool, v, 9, "crash", v.Device, fmt.Sprintf("pid %d", os.Getpid()))
	})
	cut(t, tool, v, 0, "unmounted")

	t.Run("a mount namespace without a process", func(t *testing.T) {
		dir := t.TempDir()
		lab.Run(t, "mount", "-t", "tmpfs", "none", dir)
		defer lab.Run(t, "umount", dir)
		lab.Run(t, "mount", "--make-private", dir)
		handle := filepath.Join(dir, "namespace")
		if err := os.WriteFile(handle, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		lab.Run(t, "unshare", "--mount="+handle, "--propagation", "private", "mount", v.Device, v.Dir)
		defer lab.Run(t, "umount", handle)
		cut(t, tool, v, 9, "crash", v.Device, "mount namespace")
	})
	cut(t, tool, v, 0, "unmounted")
}

// cut takes a set of a volume and removes it.
func cut(t *testing.T, tool *lab.Tool, v lab.Volume, status int, consistency string, words ...string) {
	t.Helper()
	out, stderr, code := tool.Try("create", v.Device, "--store", v.Store, "--name", "one", "--json")
	if code != status {
		t.Fatalf("exit %d, want %d: %s%s", code, status, out, stderr)
	}
	if got := tool.Show("one").Receipt.Consistency; got != consistency {
		t.Errorf("consistency %q, want %q", got, consistency)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("%q does not name %q", stderr, w)
		}
	}
	tool.OK("remove", "one")
}
