package scenarios

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestStoreKinds cuts, reads and removes with each kind of store that dmsnap makes, under a verifying writer. The image
// is right while chunks are copied, outside the store's own blocks bit for bit; the filesystems are clean at the end, and
// nothing of the stores is left.
func TestStoreKinds(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 3)
			v := lab.NewVolume(t, "kinds", fstype, disks[0], disks[1], 0, 320)
			other := lab.Linear(t, "elsewhere", disks[2], 0, 320)
			lab.Format(t, fstype, other)
			beside := lab.Mount(t, other)
			tool := lab.NewTool(t)
			for kind, spec := range map[string]string{
				"own":  "file:" + v.Dir + "/.cow",
				"dir":  "file:" + v.Dir,
				"else": "file:" + beside + "/cow",
				"ram":  "ram",
			} {
				t.Run(kind, func(t *testing.T) {
					v := v
					v.Store = spec
					w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
					for i := range lab.Rounds(t, 2, 30) {
						cycleIn(t, tool, w, v, fmt.Sprintf("%s%d", kind, i))
					}
					w.Stop(t)
					compareImage(t, tool, v, kind)
				})
			}
			nothingLeft(t, v.Dir, "ring", "junk", "lost+found")
			nothingLeft(t, beside, "lost+found")
			checkFilesystem(t, fstype, v.Device, v.Dir)
			checkFilesystem(t, fstype, other, beside)
		})
	}
}

func cycleIn(t *testing.T, tool *lab.Tool, w *lab.Writer, v lab.Volume, name string) {
	t.Helper()
	w.WaitFor(t, 3)
	set := tool.CreateWith(name, []string{"--size", "16m"}, v)
	w.WaitFor(t, slots/4)
	dir := t.TempDir()
	tool.OK("mount", name, dir)
	got := lab.Check(t, filepath.Join(dir, "ring"), slots)
	if least, most := w.Bounds(set.Receipt.Start, set.Receipt.End); got < least || got > most {
		t.Errorf("%s holds %d records; %d were acknowledged before the window, %d issued before its end", name, got, least, most)
	}
	tool.OK("umount", name)
	if shown := tool.Show(name); shown.State != "active" || shown.Volumes[0].Store.UsedBytes == 0 {
		t.Errorf("%s is %s: %+v", name, shown.State, shown.Volumes[0])
	}
	tool.OK("remove", name)
}

// compareImage cuts a filesystem at rest: the image is its origin bit for bit, and stays what it was when the origin is
// written all over. Blocks of the store's own file are left out: what is in them means nothing.
func compareImage(t *testing.T, tool *lab.Tool, v lab.Volume, kind string) {
	t.Helper()
	lab.Run(t, "sync", "-f", v.Dir)
	set := tool.CreateWith("bits", []string{"--size", "48m"}, v)
	mask := storeBlocks(t, "dmsnap-store-bits-kinds", "dmsnap-base-kinds")
	before := read(t, set.Volumes[0].Device, mask)
	if !bytes.Equal(before, read(t, v.Device, mask)) {
		t.Errorf("%s: the image is not its origin", kind)
	}
	lab.Run(t, "sh", "-c", "head -c 24M /dev/urandom > "+v.Dir+"/junk && sync -f "+v.Dir+" && head -c 12M /dev/zero > "+v.Dir+"/junk && sync -f "+v.Dir)
	dropCaches(t)
	if !bytes.Equal(before, read(t, set.Volumes[0].Device, mask)) {
		t.Errorf("%s: the image changed", kind)
	}
	if shown := tool.Show("bits"); shown.State != "active" || shown.Volumes[0].Store.UsedBytes < 12<<20 {
		t.Errorf("%s: %+v", kind, shown)
	}
	tool.OK("remove", "bits")
}

// extent is a range of a device in bytes.
type extent struct{ start, length int64 }

// storeBlocks are the ranges of a base that a store is made of, as dmsetup tells; none if it is made of something else.
func storeBlocks(t *testing.T, store, base string) (mask []extent) {
	t.Helper()
	on := strings.TrimSpace(lab.Run(t, "dmsetup", "info", "-c", "--noheadings", "-o", "major,minor", base))
	for l := range strings.Lines(lab.Run(t, "dmsetup", "table", store)) {
		var start, length, offset int64
		var dev string
		if _, err := fmt.Sscanf(l, "%d %d linear %s %d", &start, &length, &dev, &offset); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if dev == on {
			mask = append(mask, extent{offset * 512, length * 512})
		}
	}
	return mask
}

// read reads a device past the page cache, with some ranges blanked.
func read(t *testing.T, dev string, mask []extent) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bits")
	lab.Run(t, "dd", "if="+dev, "of="+file, "iflag=direct", "bs=1M", "status=none")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for _, e := range mask {
		clear(b[e.start : e.start+e.length])
	}
	return b
}

// nothingLeft expects a directory to hold nothing but what is named.
func nothingLeft(t *testing.T, dir string, known ...string) {
	t.Helper()
	for l := range strings.Lines(lab.Run(t, "ls", "-A", dir)) {
		if name := strings.TrimSpace(l); !strings.Contains(" "+strings.Join(known, " ")+" ", " "+name+" ") {
			t.Errorf("left in %s: %s", dir, name)
		}
	}
}

func checkFilesystem(t *testing.T, fstype, dev, dir string) {
	t.Helper()
	lab.Run(t, "umount", dir)
	if fstype == "ext4" {
		lab.Run(t, "e2fsck", "-fn", dev)
	} else {
		lab.Run(t, "xfs_repair", "-n", dev)
	}
	lab.Run(t, "mount", dev, dir)
}
