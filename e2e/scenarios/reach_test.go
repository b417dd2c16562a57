package scenarios

import (
	"bytes"
	"crypto/rand"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// reach cuts a mounted origin under load. The image holds one instant of the window and keeps it while the origin is
// overwritten, filesystems and writer are well, and in the end every table is what it was.
func reach(t *testing.T, v lab.Volume) {
	t.Helper()
	reachWith(t, lab.NewTool(t), v)
}

func reachWith(t *testing.T, tool *lab.Tool, v lab.Volume) {
	t.Helper()
	before := lab.Run(t, "dmsetup", "table", "--showkeys")
	old := random(t, 3<<20+4096)
	put(t, filepath.Join(v.Dir, "data"), old, 0)
	ring := filepath.Join(v.Dir, "ring")
	w := lab.StartWriter(t, slots, ring)
	w.WaitFor(t, 5)

	set := tool.Create("reach", v)
	image := set.Volumes[0].Device
	put(t, filepath.Join(v.Dir, "data"), random(t, len(old)), 0) // one write covers many chunks
	w.WaitFor(t, slots/4)
	sum := checksum(t, image)
	lab.Run(t, "e2fsck", "-fn", image)
	dir := t.TempDir()
	tool.OK("mount", "reach", dir)
	got := lab.Check(t, filepath.Join(dir, "ring"), slots)
	w.Expect(t, "the image", set.Receipt, got)
	if data, err := os.ReadFile(filepath.Join(dir, "data")); err != nil || !bytes.Equal(data, old) {
		t.Errorf("what was overwritten after the cut is not in the image: %v", err)
	}
	tool.OK("umount", "reach")
	w.WaitFor(t, slots/4)
	dropCaches(t)
	if checksum(t, image) != sum {
		t.Error("the image has changed")
	}

	tool.OK("remove", "reach")
	w.WaitFor(t, slots/4)
	w.Stop(t)
	if after := lab.Run(t, "dmsetup", "table", "--showkeys"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
	lab.Check(t, ring, slots)
	lab.Run(t, "umount", v.Dir)
	lab.Run(t, "e2fsck", "-fn", v.Device)
	lab.Run(t, "mount", v.Device, v.Dir)
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// put writes data into a file or device, in place, and has it on the medium.
func put(t *testing.T, path string, data []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_SYNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

func checksum(t *testing.T, path string) uint32 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return sum.Sum32()
}
