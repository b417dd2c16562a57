package scenarios

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestReachSizes cuts devices of odd sizes and sectors, written at their very end.
func TestReachSizes(t *testing.T) {
	lab.Long(t)
	const tib int64 = 1 << 31 // sectors
	for _, kind := range []struct {
		name  string
		table func(disks []string) string // of the origin
		store func(disks []string) string
	}{
		{
			"no multiple of the chunk",
			func(disks []string) string { return fmt.Sprintf("0 %d linear %s 0", 16*lab.MiB+8*3, disks[0]) },
			func(disks []string) string { return fmt.Sprintf("0 %d linear %s 0", 24*lab.MiB, disks[1]) },
		},
		{
			"16 TiB",
			func(disks []string) string {
				return fmt.Sprintf("0 %d linear %s 0\n%d %d zero\n%d %d linear %s %d", 16*lab.MiB, disks[0],
					16*lab.MiB, 16*tib-32*lab.MiB, 16*tib-16*lab.MiB, 16*lab.MiB, disks[0], 16*lab.MiB)
			},
			func(disks []string) string { return fmt.Sprintf("0 %d linear %s 0", 24*lab.MiB, disks[1]) },
		},
		{
			"4 KiB sectors",
			func(disks []string) string { return fmt.Sprintf("0 %d linear %s 0", 16*lab.MiB, disks[6]) },
			func(disks []string) string { return fmt.Sprintf("0 %d linear %s %d", 24*lab.MiB, disks[6], 32*lab.MiB) },
		},
		{
			"4 KiB sectors, smaller ones on the store",
			func(disks []string) string { return fmt.Sprintf("0 %d linear %s 0", 16*lab.MiB, disks[6]) },
			func(disks []string) string { return fmt.Sprintf("0 %d linear %s 0", 24*lab.MiB, disks[1]) },
		},
	} {
		for _, mode := range []string{"transient", "persistent"} {
			t.Run(kind.name+" "+mode, func(t *testing.T) {
				lab.Need(t)
				disks := lab.Disks(t, 7)
				v := lab.Volume{Device: lab.Table(t, "sized", kind.table(disks)), Store: lab.Table(t, "store", kind.store(disks))}
				var more []string
				if mode == "persistent" {
					more = []string{"--persistent"}
				}
				reachRaw(t, v, more...)
			})
		}
	}
}

// reachRaw cuts a device without a filesystem, under a writer at its start. What stood at its end stays in the image.
func reachRaw(t *testing.T, v lab.Volume, more ...string) {
	t.Helper()
	before := lab.Run(t, "dmsetup", "table")
	size := deviceSize(t, v.Device)
	old := random(t, 300<<10)
	end := size - int64(len(old))
	put(t, v.Device, old, end)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, v.Device)
	w.WaitFor(t, 5)

	set := tool.CreateWith("raw", more, v)
	image := set.Volumes[0].Device
	put(t, v.Device, random(t, len(old)), end)
	w.WaitFor(t, slots/4)
	if got := deviceSize(t, image); got != size {
		t.Errorf("the image has %d bytes, the origin %d", got, size)
	}
	got := lab.Check(t, image, slots)
	w.Expect(t, "the image", set.Receipt, got)
	if !bytes.Equal(readAt(t, image, len(old), end), old) {
		t.Error("what was overwritten after the cut is not in the image")
	}
	tool.OK("remove", "raw")
	w.WaitFor(t, slots/4)
	w.Stop(t)
	lab.Check(t, v.Device, slots)
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}

func deviceSize(t *testing.T, dev string) int64 {
	t.Helper()
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func readAt(t *testing.T, dev string, n int, at int64) []byte {
	t.Helper()
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStoreOfLargerSectors is refused: it would change the sectors of the image, and of the origin at a merge.
func TestStoreOfLargerSectors(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 7)
	origin := lab.Linear(t, "small", disks[0], 0, 16)
	store := lab.Store(t, "large", disks[6], 0, 16)
	before := lab.Run(t, "dmsetup", "table")
	_, stderr, code := lab.NewTool(t).Try("create", origin, "--store", store, "--name", "s")
	if code != 7 || !strings.Contains(stderr, "4096") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}

// TestTwoRawOrigins is a database on two devices without filesystems: it writes its log, then its table.
func TestTwoRawOrigins(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 4)
	var volumes []lab.Volume
	for i, name := range []string{"log", "rows"} {
		volumes = append(volumes, lab.Volume{
			Name: name, Device: lab.Linear(t, name, disks[i], 0, 32), Store: lab.Store(t, name+"-store", disks[2+i], 0, 32),
		})
	}
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, volumes[0].Device, volumes[1].Device)
	for i := range lab.Rounds(t, 4, 30) {
		w.WaitFor(t, 3)
		set := tool.Create("db", volumes...)
		onLog, onRows := lab.Check(t, set.Volumes[0].Device, slots), lab.Check(t, set.Volumes[1].Device, slots)
		least, most := w.Bounds(set.Receipt.Start, set.Receipt.End)
		if onRows > onLog || onLog > onRows+1 || onLog < least || onLog > most {
			t.Errorf("cut %d: the log has %d records, the rows %d; between %d and %d are right", i, onLog, onRows, least, most)
		}
		tool.OK("remove", "db")
	}
	w.Stop(t)
}

// TestReadOnlyOrigin stays read-only all the time.
func TestReadOnlyOrigin(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	lab.Format(t, "ext4", lab.Linear(t, "writable", disks[0], 0, 16))
	lab.Run(t, "dmsetup", "create", "fixed", "--readonly", "--table", fmt.Sprintf("0 %d linear %s 0", 16*lab.MiB, disks[0]))
	t.Cleanup(func() { lab.Run(t, "dmsetup", "remove", "--retry", "fixed") })
	v := lab.Volume{Device: "/dev/mapper/fixed", Store: lab.Store(t, "store", disks[1], 0, 16)}
	sum := checksum(t, v.Device) // later the filesystem's own view of its superblock is in the cache
	dir := t.TempDir()
	lab.Run(t, "mount", "-o", "ro", v.Device, dir)
	t.Cleanup(func() { lab.Run(t, "umount", dir) })
	before := lab.Run(t, "dmsetup", "table")
	tool := lab.NewTool(t)
	set := tool.Create("fixed", v)
	readOnly(t, v.Device)
	if checksum(t, set.Volumes[0].Device) != sum {
		t.Error("the image is not its origin")
	}
	image := t.TempDir()
	tool.OK("mount", "fixed", image)
	tool.OK("umount", "fixed")
	tool.OK("remove", "fixed")
	readOnly(t, v.Device)
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}

func readOnly(t *testing.T, dev string) {
	t.Helper()
	if ro := strings.TrimSpace(lab.Run(t, "blockdev", "--getro", dev)); ro != "1" {
		t.Errorf("%s can be written: getro is %s", dev, ro)
	}
}
