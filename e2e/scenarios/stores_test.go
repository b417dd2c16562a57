package scenarios

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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
	mask := storeBlocks(t, "dmsnap-store-bits-kinds", "dmsnap-base-kinds")
	before := bits(t, set.Volumes[0].Device, mask)
	lab.Run(t, "sh", "-c", "head -c 12M /dev/urandom > "+data+" && sync -f "+v.Dir+" && head -c 4M /dev/zero > "+data+" && sync -f "+v.Dir)
	dropCaches(t)
	if !slices.Equal(before, bits(t, set.Volumes[0].Device, mask)) {
		t.Errorf("%s: the image changed", kind)
	}
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

// bits are the checksums of a device's pieces, some ranges blanked, read past the page cache.
func bits(t *testing.T, dev string, mask []extent) (sums []uint32) {
	t.Helper()
	f, err := os.OpenFile(dev, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := lab.Aligned(1 << 20)
	defer lab.Free(buf)
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		if n > 0 {
			blank(buf[:n], at, mask)
			sums = append(sums, crc32.ChecksumIEEE(buf[:n]))
		}
		if at += int64(n); err == io.EOF {
			return sums
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func blank(b []byte, at int64, mask []extent) {
	for _, e := range mask {
		from, to := max(e.start, at), min(e.start+e.length, at+int64(len(b)))
		if from < to {
			clear(b[from-at : to-at])
		}
	}
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
