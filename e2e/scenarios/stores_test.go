package scenarios

import (
	"fmt"
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
			if fstype == "xfs" {
				lab.Wide(t)
			}
			v, beside, end := twoFilesystems(t, fstype)
			tool := lab.NewTool(t)
			kinds := map[string]string{"own": "file:" + v.Dir}
			if fstype == "ext4" || lab.Full() {
				kinds["else"] = "file:" + beside + "/cow"
			}
			if lab.Full() {
				kinds["ram"] = "ram"
			}
			for kind, spec := range kinds {
				t.Run(kind, func(t *testing.T) {
					v := v
					v.Store = spec
					w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
					for i := range lab.Rounds(t, 1, 30) {
						cycleIn(t, tool, w, v, fmt.Sprintf("%s%d", kind, i))
					}
					w.Stop(t)
					compareImage(t, tool, v, kind)
				})
			}
			end("ring")
		})
	}
}

// twoFilesystems are an origin and one beside it that has room for stores. At the end nothing is on them but some files of
// the origin's, and they are clean.
func twoFilesystems(t *testing.T, fstype string) (v lab.Volume, beside string, end func(files ...string)) {
	t.Helper()
	lab.Need(t)
	disks := lab.Disks(t, 3)
	v = lab.NewVolume(t, "kinds", fstype, disks[0], disks[1], 0, 320)
	other := lab.Linear(t, "elsewhere", disks[2], 0, 320)
	lab.Format(t, fstype, other)
	beside = lab.Mount(t, other)
	return v, beside, func(files ...string) {
		t.Helper()
		nothingLeft(t, v.Dir, append(files, "lost+found")...)
		nothingLeft(t, beside, "lost+found")
		checkFilesystem(t, fstype, v.Device, v.Dir)
		checkFilesystem(t, fstype, other, beside)
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
	w.Expect(t, name, set.Receipt, got)
	tool.OK("umount", name)
	if shown := tool.Show(name); shown.State != "active" || shown.Volumes[0].Store.UsedBytes == 0 {
		t.Errorf("%s is %s: %+v", name, shown.State, shown.Volumes[0])
	}
	tool.OK("remove", name)
}

// compareImage cuts a filesystem whose one file is known and then written all over: the image has what the file was, and
// stays what it is bit for bit. Blocks of the store's own file are left out: what is in them means nothing.
func compareImage(t *testing.T, tool *lab.Tool, v lab.Volume, kind string) {
	t.Helper()
	data := filepath.Join(v.Dir, "data")
	lab.Run(t, "sh", "-c", "head -c 12M /dev/urandom > "+data+" && sync -f "+v.Dir)
	was := fileSum(t, data)
	set := tool.CreateWith("bits", []string{"--size", "32m"}, v)
	dir := t.TempDir()
	tool.OK("mount", "bits", dir)
	if got := fileSum(t, filepath.Join(dir, "data")); got != was {
		t.Errorf("%s: the image has another file", kind)
	}
	tool.OK("umount", "bits")
	before := blockSums(t, set.Volumes[0].Device)
	lab.Run(t, "sh", "-c", "head -c 12M /dev/urandom > "+data+" && sync -f "+v.Dir+" && head -c 4M /dev/zero > "+data+" && sync -f "+v.Dir)
	dropCaches(t)
	unchanged(t, set.Volumes[0].Device, before, storeBlocks(t, "dmsnap-store-bits-kinds", "dmsnap-base-kinds"))
	if shown := tool.Show("bits"); shown.State != "active" || shown.Volumes[0].Store.UsedBytes < 4<<20 {
		t.Errorf("%s: %+v", kind, shown)
	}
	tool.OK("remove", "bits")
	lab.Run(t, "rm", data)
}

func fileSum(t *testing.T, file string) string {
	t.Helper()
	return strings.Fields(lab.Run(t, "sha256sum", file))[0]
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

// systems are the filesystems that stores are tried on: all at full length.
func systems() []string {
	if lab.Full() {
		return []string{"ext4", "xfs"}
	}
	return []string{"ext4"}
}
