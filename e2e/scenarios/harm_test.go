package scenarios

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestNothingHurtsTheOrigin fills a store up, and has another die, under a verifying writer. The writer meets no error,
// the set says what became of it, and goes like any other.
func TestNothingHurtsTheOrigin(t *testing.T) {
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "safe", "ext4", disks[0], disks[1], 0, 96)
	before := lab.Run(t, "dmsetup", "table")
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))

	tool.CreateWith("small", []string{"--size", "1m"}, v)
	lab.Run(t, "sh", "-c", "head -c 32M /dev/urandom > "+v.Dir+"/flood && sync -f "+v.Dir)
	lost(t, tool, w, "small")

	tool.Create("dead", v)
	lab.Run(t, "dmsetup", "suspend", "--noflush", "safe-cow")
	lab.Run(t, "dmsetup", "reload", "safe-cow", "--table", "0 196608 error")
	lab.Run(t, "dmsetup", "resume", "safe-cow")
	w.WaitFor(t, slots)
	lab.Run(t, "sh", "-c", "rm "+v.Dir+"/flood; head -c 4M /dev/urandom > "+v.Dir+"/flood && sync -f "+v.Dir)
	lost(t, tool, w, "dead")
	w.Stop(t)

	lab.Run(t, "dmsetup", "reload", "safe-cow", "--table", strings.SplitN(line(before, "safe-cow: "), ": ", 2)[1])
	lab.Run(t, "dmsetup", "resume", "safe-cow")
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
	lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
}

func line(text, prefix string) string {
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, prefix) {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

// lost expects an invalid set that is honest about it and can be removed.
func lost(t *testing.T, tool *lab.Tool, w *lab.Writer, name string) {
	t.Helper()
	w.WaitFor(t, slots/4)
	if set := tool.Show(name); set.State != "invalid" || set.Volumes[0].Reason == "" {
		t.Errorf("%s is %s because %q, want invalid with a reason", name, set.State, set.Volumes[0].Reason)
	}
	if _, stderr, code := tool.Try("mount", name, t.TempDir()); code == 0 || !strings.Contains(stderr, "invalid") {
		t.Errorf("mount of an invalid image: exit %d, %s", code, stderr)
	}
	tool.OK("remove", name)
	w.WaitFor(t, slots/4)
}

// TestLostImageStopsNobody loses an image that is mounted, of an origin whose superblock asks for a panic at errors. It is
// the image's error, and the machine goes on.
func TestLostImageStopsNobody(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "strict", "ext4", disks[0], disks[1], 0, 96)
	lab.Run(t, "tune2fs", "-e", "panic", v.Device)
	lab.Run(t, "sh", "-c", "mkdir "+v.Dir+"/d && cd "+v.Dir+"/d && seq 2000 | xargs touch && sync -f .")
	tool := lab.NewTool(t)
	tool.CreateWith("small", []string{"--size", "1m"}, v)
	dir := t.TempDir()
	tool.OK("mount", "small", dir)
	lab.Run(t, "ls", "-f", dir+"/d") // names now, inodes when they cannot be read any more
	lab.Run(t, "sh", "-c", "head -c 32M /dev/urandom > "+v.Dir+"/flood && sync -f "+v.Dir)
	if set := tool.Show("small"); set.State != "invalid" {
		t.Errorf("the set is %s, want invalid", set.State)
	}
	if text, err := exec.Command("ls", "-l", dir+"/d").CombinedOutput(); err == nil {
		t.Errorf("a lost image can be read:\n%s", text)
	}
	tool.OK("umount", "small")
	tool.OK("remove", "small")
}

// TestStateIsRootOnly: names of paths and devices are nobody else's business.
func TestStateIsRootOnly(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "secret", "ext4", disks[0], disks[1], 0, 32)
	tool := lab.NewTool(t)
	tool.Create("mine", v)
	err := filepath.WalkDir(tool.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tool.OK("remove", "mine")
	if left, err := os.ReadDir(filepath.Join(tool.State, "sets")); err != nil || len(left) > 0 {
		t.Errorf("records left: %v, %v", left, err)
	}
}
